// Package scripts holds the Python that trains adapters, so that the program can run it wherever the program is.
package scripts

import "embed"

// FS is what trains, and the pins of what that imports.
//
//go:embed train.py cli.py data.py adapter.py checkpoint.py requirements.txt
var FS embed.FS
