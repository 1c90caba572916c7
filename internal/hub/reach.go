package hub

import (
	"context"
	"net/http"
)

// Reach asks the hub for the smallest thing that there is, and says why no answer came. It tries once.
func (c *Client) Reach(ctx context.Context) error {
	answer, err := c.get(ctx, c.access.Endpoint+"/api/models?limit=1", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusInternalServerError {
		return fail(CodeHTTP, "ask %s: it answers %s", where(c.hub), answer.Status)
	}
	return nil
}
