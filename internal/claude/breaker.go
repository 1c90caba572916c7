package claude

import "time"

const (
	failuresMax = 3 // requests in a row that fail before the service is left alone
	restTime    = 30 * time.Second
	restMax     = time.Hour
)

// breaker leaves a service alone that is down. It is closed until failuresMax requests in a row have failed, then open
// for restTime, then half open: one request tests the service, and the others are still refused until it has ended.
type breaker struct {
	failures int
	until    time.Time // open before this
	testing  bool      // half open, and the test is under way
}

// open says whether requests are refused, and for how long probably.
func (b *breaker) open(now time.Time) (wait time.Duration, open bool) {
	switch {
	case now.Before(b.until):
		return b.until.Sub(now), true
	case b.testing:
		return restTime, true
	}
	return 0, false
}

// begin is called for each request that open let through.
func (b *breaker) begin() { b.testing = !b.until.IsZero() }

func (b *breaker) succeeded() { *b = breaker{} }

// undecided ends a request that says nothing about the service, as when its user left.
func (b *breaker) undecided() { b.testing = false }

// failed counts a request against the service. A service that names a time is left alone until then.
func (b *breaker) failed(now time.Time, after time.Duration) {
	b.failures++
	if b.testing || b.failures >= failuresMax || after > pauseMax {
		b.until = now.Add(min(max(restTime, after), restMax))
	}
	b.testing = false
}
