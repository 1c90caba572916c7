// Package chat holds what a conversation is made of: messages, their order, and the strings at which an answer stops.
package chat

// Roles that every chat template knows.
const (
	System    = "system"
	User      = "user"
	Assistant = "assistant"
)

// Message is one entry of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}
