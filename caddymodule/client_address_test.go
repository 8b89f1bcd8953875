package caddymodule

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestClientOf(t *testing.T) {
	for _, test := range []struct{ remote, trusted, user, want string }{
		{"192.0.2.7:1234", "", "", "@192.0.2.7"},
		{"192.0.2.7:1234", "", "talos", "talos@192.0.2.7"},
		{"192.0.2.7:1234", "198.51.100.9", "", "@198.51.100.9"},
		{"[2001:db8:1:2:3::4]:1234", "", "", "@2001:db8:1:2::/64"},
		{"[fe80::1%eth0]:1234", "", "", "@fe80::/64"},
		{"[::ffff:192.0.2.7]:1", "", "", "@::ffff:192.0.2.7"},
		{"@", "", "", "@"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
		r.RemoteAddr = test.remote
		repl := caddy.NewReplacer()
		repl.Set("http.auth.user.id", test.user)
		ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)
		if test.trusted != "" {
			ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: test.trusted})
		}
		r = r.WithContext(ctx)
		if got := clientOf(r, user(r)); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}
