package upstream

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream/internal/panics"
)

// panicOf returns what fn panics with, if it does.
func panicOf(fn func()) (p any) {
	defer func() { p = recover() }()
	fn()
	return nil
}

// What panics while a transport connects: to the upstream itself, or to
// where it leads, panics in those of the operations that wait for it: at the first of its addresses and at those that are tried beside.
func TestPanicOfDialer(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL(), "http://"))
	lead := ""
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if lead != "" {
			http.Redirect(w, r, lead, http.StatusTemporaryRedirect)
			return
		}
		next(w, r)
	})
	for name, c := range map[string]struct{ at, lead string }{
		"at home":         {at: "127.0.0.1"},
		"abroad":          {"127.0.0.1", "http://127.0.0.2:" + port},
		"at home, beside": {at: "both.test"},
		"abroad, beside":  {"127.0.0.1", "http://both.test:" + port},
	} {
		t.Run(name, func(t *testing.T) {
			lead = ""
			armed := false
			client := newClient(t, "http://"+net.JoinHostPort(c.at, port), func(o *Options) {
				o.seams.Resolver = names(t, map[string][]string{"both.test": {"127.0.0.1", "::1"}})
				o.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
				o.seams.Dialing = func(string) error {
					if armed {
						panic("a fault of the program")
					}
					return nil
				}
			})
			armed = true
			ask := func() error {
				_, err := client.Manifest(t.Context(), repo, tag(image.Tag))
				return err
			}
			if lead = c.lead; lead != "" {
				armed = false
				lead = ""
				if err := ask(); err != nil {
					t.Fatal(err)
				}
				lead, armed = c.lead, true
			}
			var e *panics.Error
			if err, ok := panicOf(func() { _ = ask() }).(error); !ok || !errors.As(err, &e) {
				t.Errorf("it panics with %v", err)
			}
			lead, armed = "", false
			if err := ask(); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}
