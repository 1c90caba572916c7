package chat

import (
	"fmt"
	"slices"
	"sort"
)

// Conversation is what was said so far. The zero value is empty. It is plain data: it can be compared, copied with Clone and kept as JSON.
type Conversation struct {
	System string    `json:"system,omitempty"`
	Turns  []Message `json:"turns"` // without the system message
}

// Messages is the whole conversation as a template takes it: the system message first, where there is one.
func (c *Conversation) Messages() []Message {
	if c.System == "" {
		return slices.Clone(c.Turns)
	}
	return append([]Message{{Role: System, Content: c.System}}, c.Turns...)
}

// Ask appends what the user says.
func (c *Conversation) Ask(text string) { c.Turns = append(c.Turns, Message{User, text}) }

// Answer appends what the model says.
func (c *Conversation) Answer(text string) { c.Turns = append(c.Turns, Message{Assistant, text}) }

// Undo takes back the last turn: the user's last message and what followed it. False when there is none.
func (c *Conversation) Undo() bool {
	at := c.lastAsk()
	if at < 0 {
		return false
	}
	c.Turns = c.Turns[:at]
	return true
}

// Retry takes back the answer to the user's last message, so that the model can give another. False when nothing was asked.
func (c *Conversation) Retry() bool {
	at := c.lastAsk()
	if at < 0 {
		return false
	}
	c.Turns = c.Turns[:at+1]
	return true
}

// Clone is a copy that shares nothing.
func (c *Conversation) Clone() Conversation {
	return Conversation{System: c.System, Turns: slices.Clone(c.Turns)}
}

func (c *Conversation) lastAsk() int {
	for i, m := range slices.Backward(c.Turns) {
		if m.Role == User {
			return i
		}
	}
	return -1
}

// Fit leaves out the oldest turns until at most limit tokens are left, and says how many messages went. System messages at the beginning
// stay, as does the last turn; a turn goes whole, the user's message with all that followed it. Count gives the tokens of a conversation,
// which must not become more as turns go. It is an error if the last turn alone does not fit.
func Fit(messages []Message, limit int, count func([]Message) (int, error)) (kept []Message, dropped int, err error) {
	n, err := count(messages)
	if err != nil || n <= limit {
		return messages, 0, err
	}
	head := slices.IndexFunc(messages, func(m Message) bool { return m.Role != System })
	if head < 0 {
		return nil, 0, tooLong(n, limit)
	}
	var starts []int // where the conversation can begin instead
	for i := head + 1; i < len(messages); i++ {
		if messages[i].Role == User {
			starts = append(starts, i)
		}
	}
	without := func(start int) []Message { return slices.Concat(messages[:head], messages[start:]) }
	at := sort.Search(len(starts), func(i int) bool {
		if err != nil {
			return true
		}
		var tokens int
		if tokens, err = count(without(starts[i])); i == len(starts)-1 {
			n = tokens
		}
		return err != nil || tokens <= limit
	})
	if err != nil {
		return nil, 0, err
	}
	if at == len(starts) {
		return nil, 0, tooLong(n, limit)
	}
	return without(starts[at]), starts[at] - head, nil
}

func tooLong(found, limit int) error {
	return fmt.Errorf("chat: fit the conversation: the last message alone makes at least %d tokens, there is room for %d; shorten it or take a larger context", found, limit)
}
