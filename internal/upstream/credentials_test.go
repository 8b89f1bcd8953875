package upstream

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// sourceFunc is a source of credentials.
type sourceFunc func(host string) (credentials.Login, error)

func (f sourceFunc) Login(_ context.Context, host string) (credentials.Login, error) { return f(host) }

// always is a source that says the same of every host.
func always(l credentials.Login) Credentials {
	return SourceCredentials(sourceFunc(func(string) (credentials.Login, error) { return l, nil }))
}

// TestSourceIsAskedAgain: after a refusal at once, and else when what it said is old.
func TestSourceIsAskedAgain(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "u", Password: "p"})
	var password atomic.Value
	password.Store("wrong")
	now, asked := newClock(), atomic.Int64{}
	source := sourceFunc(func(host string) (credentials.Login, error) {
		asked.Add(1)
		if host != s.Addr() {
			t.Errorf("asked for %q", host)
		}
		if password.Load() == "" {
			return credentials.Login{}, errors.New("no password")
		}
		return credentials.Login{Username: "u", Password: password.Load().(string)}, nil
	})
	c := newClient(t, s.URL(), func(o *Options) { o.Credentials, o.Now = SourceCredentials(source), now.Now })
	get := func() error {
		_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
		return err
	}
	wantClass(t, get(), oci.ClassDenied)
	password.Store("p")
	before := asked.Load()
	for range 2 {
		if err := get(); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load() - before; n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	password.Store("")
	now.add(10 * time.Minute)
	wantClass(t, get(), oci.ClassToken)
}
