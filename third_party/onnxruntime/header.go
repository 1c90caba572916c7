//go:build header

// Package onnxruntime pins the ONNX Runtime that the engine is built with: the C header's release in go.mod and go.sum,
// the libraries' releases and checksums in pins.cmake. It holds no code.
package onnxruntime

// The module is wanted for onnxruntime_c_api.h alone; the import keeps it in go.mod and is never compiled.
import _ "github.com/yalue/onnxruntime_go"
