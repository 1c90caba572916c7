package ort

// Running is the number of runs of a session that are under way.
func (s *Session) Running() int {
	s.runs.mu.Lock()
	defer s.runs.mu.Unlock()
	return len(s.runs.list)
}

// CheckFile and CheckImage stand between a damaged library and the system's loader.
var (
	CheckFile  = checkFile
	CheckImage = checkImage
)

// ParseVersion and NewestIn choose between the files of a folder.
var (
	ParseVersion = parseVersion
	NewestIn     = newestIn
)

// OnThread calls f on the thread that the session owns.
func (s *Session) OnThread(f func()) { s.thread.do(f) }
