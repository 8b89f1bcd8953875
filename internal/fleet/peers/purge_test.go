package peers

import (
	"context"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Who is asked for something newer than a purge answers only if it is. That is no word of the
// upstream.
func TestAnswersAreNewerThanPurges(t *testing.T) {
	t.Parallel()
	d, scope := oci.Sum(content), oci.Scope{Upstream: identity, Repository: repository}
	for name, c := range map[string]struct {
		purge   string
		current func(context.Context, oci.Scope, digest.Digest, string) bool
		answers bool
	}{
		"none":    {"", nil, true},
		"unknown": {"purge", nil, false},
		"of a digest": {"purge", func(_ context.Context, s oci.Scope, of digest.Digest, purge string) bool {
			return s == scope && (of == d || of == "") && purge == "purge"
		}, true},
		"too new": {"purge", func(context.Context, oci.Scope, digest.Digest, string) bool { return false }, false},
	} {
		at := listen(t)
		newGroup(t, at, new(fake), func(o *Options) { o.Current = c.current })
		one := newGroup(t, listen(t), new(fake), func(o *Options) { o.Peers = []string{at.Addr().String()} })
		await(t, "they find each other", func() bool { return one.Status().Alive() == 1 })
		var p Peer
		for _, m := range one.members.known() {
			p = one.At(m, identity)
		}
		p.Purge = c.purge
		for _, ref := range []oci.Reference{{Tag: "3"}, {Digest: d}} {
			if _, err := p.Resolve(t.Context(), repository, ref); (err == nil) != c.answers || IsAnswer(err) {
				t.Errorf("%s, %s: %v", name, ref, err)
			}
		}
		if _, err := p.HeadBlob(t.Context(), repository, d); (err == nil) != c.answers {
			t.Errorf("%s: %v", name, err)
		}
	}
}
