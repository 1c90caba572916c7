package ort

import "testing"

func TestWithoutPlace(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"No such file", "No such file"},
		{"Load model from a.onnx failed:/onnxruntime_src/onnxruntime/core/graph/model.cc:256 onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::logging::Logger&) Unsupported model IR version: 999, max supported IR version: 14",
			"Load model from a.onnx failed: Unsupported model IR version: 999, max supported IR version: 14"},
		{"/onnxruntime_src/onnxruntime/core/framework/x.h:12 auto f<T>::operator()(std::function<void(int)>) const [with T = int] bad shape", "bad shape"},
		{"/onnxruntime_src/onnxruntime/core/a.cc:1 f(int", "/onnxruntime_src/onnxruntime/core/a.cc:1 f(int"},
		{"/onnxruntime_src/onnxruntime/core/a.cc:1 f(int)", "/onnxruntime_src/onnxruntime/core/a.cc:1 f(int)"},
		{"my/models/onnxruntime/a.cc is (not) there", "my/models/onnxruntime/a.cc is (not) there"},
	} {
		if got := withoutPlace(c.in); got != c.want {
			t.Errorf("withoutPlace(%q)\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}
