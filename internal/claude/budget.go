package claude

import "time"

// budget bounds what is spent in any hour, in tokens: prices change, and the tokens are what the service reports.
// The request that crosses the limit is let through, because what an answer costs is known at its end.
type budget struct {
	limit   int // 0 is none
	entries []expense
}

type expense struct {
	at     time.Time
	tokens int
}

// spent says whether the limit is reached, and when there is room again.
func (b *budget) spent(now time.Time) (wait time.Duration, spent bool) {
	if b.limit == 0 {
		return 0, false
	}
	for len(b.entries) > 0 && now.Sub(b.entries[0].at) >= time.Hour {
		b.entries = b.entries[1:]
	}
	sum := 0
	for _, e := range b.entries {
		sum += e.tokens
	}
	for _, e := range b.entries {
		if sum < b.limit {
			break
		}
		sum -= e.tokens
		wait, spent = time.Hour-now.Sub(e.at), true
	}
	return wait, spent
}

func (b *budget) add(now time.Time, tokens int) {
	if b.limit > 0 && tokens > 0 {
		b.entries = append(b.entries, expense{now, tokens})
	}
}
