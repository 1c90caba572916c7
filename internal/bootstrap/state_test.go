package bootstrap

import (
	"errors"
	"testing"
)

func TestStateInWords(t *testing.T) {
	for _, c := range []struct {
		state State
		want  string
	}{
		{State{}, "is being prepared"},
		{State{Phase: Downloading}, "is being downloaded"},
		{State{Phase: Downloading, File: 2, Files: 5, Bytes: 640e6, Total: 1600e6}, "is being downloaded (file 2 of 5, 40% of 1.6 GB)"},
		{State{Phase: Downloading, Bytes: 7e6, Total: 5e6}, "is being downloaded (100% of 5.0 MB)"},
		{State{Phase: Loading}, "is being loaded"},
		{State{Phase: Ready, Provider: "CPU"}, "is ready on CPU"},
		{State{Phase: Ready}, "is ready"},
		{State{Phase: Failed, Err: errors.New("no memory")}, "could not be loaded: no memory"},
		{State{Phase: NotAvailable}, "is not available"},
		{State{Phase: 42}, "is in phase 42"},
	} {
		if got := c.state.String(); got != c.want {
			t.Errorf("%+v in words: got %q, want %q", c.state, got, c.want)
		}
	}
}
