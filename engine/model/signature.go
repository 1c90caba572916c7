package model

// Signature is what the graph's own file declares; a session may say more, such as the shapes that the runtime inferred.
func (f Files) Signature() (Signature, error) {
	if err := f.readGraph(); err != nil {
		return Signature{}, err
	}
	return signature(f.graph.Graph), nil
}
