package cuda

import (
	"fmt"
	"regexp"
)

// failure is how the runtime reports what the CUDA library answered; behind it stand places in its sources and the machine's name.
var failure = regexp.MustCompile(`CUDA failure (\d+): ([^;]*?) ?(?:;|$)`)

// Failure is an error of the CUDA library.
type Failure struct {
	Code, Words string // CUDA's own
	Fix         string
	Err         error // what the runtime made of it
}

func (f *Failure) Error() string {
	return fmt.Sprintf("cuda: %s (CUDA says %s: %s)", f.Fix, f.Code, f.Words)
}

func (f *Failure) Unwrap() error { return f.Err }

// Explain puts what can be done into an error of the CUDA library; any other error stays as it is.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	m := failure.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	f := &Failure{Code: m[1], Words: m[2], Err: err}
	switch f.Code {
	case "35":
		f.Fix = "no NVIDIA driver, or one that is too old: install version 580 or newer"
	case "100":
		f.Fix = "no NVIDIA GPU is seen: nvidia-smi lists them, CUDA_VISIBLE_DEVICES hides them, a container needs --gpus all"
	case "101":
		f.Fix = "no GPU of that number: --provider-option device=0 is the first"
	case "2":
		f.Fix = "the GPU's memory is full: a smaller model, variant or --context needs less; nvidia-smi shows who has it"
	case "209":
		f.Fix = "this GPU is too old for the library, which has no code for it"
	case "803", "804", "999":
		f.Fix = "the driver does not work with itself: after an update the machine has to start anew"
	default:
		f.Fix = "the CUDA library failed"
	}
	return f
}
