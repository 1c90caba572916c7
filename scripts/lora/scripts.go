// Package scripts holds the Python that trains adapters, so that the program can run it wherever the program is.
package scripts

import "embed"

// FS is the scripts beside this file, and the pins of what they import.
//
//go:embed *.py requirements.txt
var FS embed.FS
