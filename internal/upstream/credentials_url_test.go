package upstream

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	"github.com/pullgate/pullgate/internal/oci"
)

// TestPasswordIsForOneURL asks at several URLs, each of which refuses whoever is not
// the next one, and counts which of them saw which password.
func TestPasswordIsForOneURL(t *testing.T) {
	t.Parallel()
	upstreams, first, second := BasicCredentials("u", "canary"), BasicCredentials("first", "canary"), BasicCredentials("second", "canary")
	const (
		u  = "Basic " + passwordBase64
		up = "u:canary"
	)
	for name, test := range map[string]struct {
		name        string // of the upstream; "" = none of the hosts
		credentials Credentials
		own         map[int]Credentials // by URL
		bearer      bool                // each has a token server of its own
		want        [3]string           // users that the URLs have seen
	}{
		"nobody":                      {},
		"the upstream's":              {credentials: upstreams, want: [3]string{"u"}},
		"the upstream's, for a token": {credentials: upstreams, bearer: true, want: [3]string{"u"}},
		"the upstream's, and one's own": {
			credentials: upstreams, own: map[int]Credentials{1: second}, want: [3]string{"u", "second"},
		},
		"its own, for each": {own: map[int]Credentials{0: first, 1: second}, want: [3]string{"first", "second"}},
		"its own, for the last": {
			own: map[int]Credentials{2: first}, bearer: true, want: [3]string{2: "first"},
		},
		"its own, in place of the upstream's": {
			credentials: upstreams, own: map[int]Credentials{0: first}, want: [3]string{"first"},
		},
		"the upstream's, which is named after the second": {
			name: "127.0.0.2", credentials: upstreams, want: [3]string{1: "u"},
		},
		"what is looked up by host": {
			credentials: always(credentials.Login{Username: "u", Password: "canary"}),
			want:        [3]string{"u", "u", "u"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := [3]map[string]bool{{}, {}, {}}
			var urls []*url.URL
			for i := range seen {
				s := listenOn(t, []string{"127.0.0.1", "127.0.0.2", "127.0.0.1"}[i], func(w http.ResponseWriter, r *http.Request) {
					if user, _, ok := r.BasicAuth(); ok {
						seen[i][user] = true
					} else if r.Header.Get("Authorization") != "" && r.Header.Get("Authorization") != "Bearer anonymous" {
						t.Errorf("URL %d saw %q", i, r.Header.Get("Authorization"))
					}
					switch {
					case r.URL.Path == "/token":
						give(w, r)
					case test.bearer:
						demand(w, `Bearer realm="http://%s/token"`, r.Host)
					default:
						demand(w, `Basic realm="x"`)
					}
				})
				urls = append(urls, mustURL(t, s.url))
			}
			c := newClient(t, urls[0].String(), func(o *Options) {
				if test.name != "" {
					o.Name = test.name
				}
				o.URLs, o.Credentials, o.URLCredentials = urls, test.credentials, map[string]Credentials{}
				for i, own := range test.own {
					o.URLCredentials[urls[i].String()] = own
				}
			})
			_, err := c.Manifest(t.Context(), repo, tag("1"))
			wantClass(t, err, oci.ClassDenied)
			if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), u) || strings.Contains(err.Error(), up) {
				t.Errorf("the error holds a secret: %v", err)
			}
			for i, users := range seen {
				if got := strings.Join(slices.Sorted(maps.Keys(users)), ","); got != test.want[i] {
					t.Errorf("URL %d saw %q, want %q", i, got, test.want[i])
				}
			}
		})
	}
}

// A URL that got no credentials, and refuses, leads to who configures them.
func TestRefusalTellsWhoseCredentialsAre(t *testing.T) {
	t.Parallel()
	refuse := func(w http.ResponseWriter, _ *http.Request) { demand(w, `Basic realm="x"`) }
	first, second := script(t, refuse), script(t, refuse)
	c := newClient(t, first.URL, func(o *Options) {
		o.URLs, o.Credentials = append(o.URLs, mustURL(t, second.URL)), BasicCredentials("u", "p")
	})
	_, err := c.Manifest(t.Context(), repo, tag("1"))
	e := wantClass(t, err, oci.ClassDenied)
	if want := "the `credentials` of the upstream are for " + first.URL + "; those in a block of `url`"; !strings.Contains(e.Error(), want) {
		t.Errorf("%v, want %q", e, want)
	}
}

func TestCredentialsFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, urls, want string }{
		{"docker.io", "https://mirror.gcr.io https://registry-1.docker.io", "https://registry-1.docker.io"},
		{"docker.io", "https://mirror.gcr.io https://index.docker.io", "https://index.docker.io"},
		{"docker.io", "https://hub.corp:5000/v2/x https://mirror.gcr.io", "https://hub.corp:5000/v2/x"},
		{"docker.io", "https://hub.corp https://hub.corp:8443 https://hub.corp/v2/x http://hub.corp", "https://hub.corp https://hub.corp/v2/x"},
		{"harbor.corp", "https://copy.corp https://Harbor.corp:443 https://harbor.corp/", "https://Harbor.corp:443 https://harbor.corp/"},
		{"harbor.corp:8443", "https://copy.corp https://harbor.corp:8443", "https://harbor.corp:8443"},
		{"harbor.corp", "https://a.harbor.corp https://harbor.corp.evil.test", "https://a.harbor.corp"},
	} {
		o := Options{Name: test.name, Credentials: BasicCredentials("u", "p")}
		for s := range strings.FieldsSeq(test.urls) {
			o.URLs = append(o.URLs, mustURL(t, s))
		}
		var got []string
		for _, u := range o.URLs {
			if !o.CredentialsFor(u).IsZero() {
				got = append(got, u.String())
			}
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%s at %s: for %s, want %s", test.name, test.urls, s, test.want)
		}
	}
}

func TestExposed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ urls, own, origins, want string }{
		{urls: "https://hub.test http://copy.test"},
		{urls: "http://hub.test:5000/x", want: "http://hub.test:5000/x"},
		{urls: "HTTP://HUB.TEST", want: "http://HUB.TEST"},
		{urls: "http://127.0.0.1:5000"},
		{urls: "http://127.9.9.9"},
		{urls: "http://[::1]:5000"},
		{urls: "http://[::ffff:127.0.0.1]:5000"},
		{urls: "http://localhost"},
		{urls: "http://a.LocalHost.:80"},
		{urls: "http://127.0.0.1.nip.test", want: "http://127.0.0.1.nip.test"},
		{urls: "http://localhost.test", want: "http://localhost.test"},
		{urls: "http://10.0.0.1", want: "http://10.0.0.1"},
		{urls: "http://192.168.1.1", want: "http://192.168.1.1"},
		{urls: "https://hub.test http://copy.test", own: "http://copy.test", want: "http://copy.test"},
		// The token server may be the one that is exposed.
		{urls: "https://hub.test", origins: "http://auth.test"},
		{urls: "http://127.0.0.1:5000", origins: "http://auth.test http://127.0.0.1 https://auth.test", want: "http://auth.test"},
	} {
		o := Options{Name: "x.test", Credentials: BasicCredentials("u", "p"), URLCredentials: map[string]Credentials{}}
		for s := range strings.FieldsSeq(test.urls) {
			o.URLs = append(o.URLs, mustURL(t, s))
		}
		if test.own != "" {
			o.URLCredentials[test.own] = BasicCredentials("u", "p")
		}
		o.AuthOrigins = strings.Fields(test.origins)
		if got := strings.Join(o.Exposed(), " "); got != test.want {
			t.Errorf("%s, %s: exposed %q, want %q", test.urls, test.origins, got, test.want)
		}
		o.Credentials, o.URLCredentials = Credentials{}, nil
		if got := o.Exposed(); got != nil {
			t.Errorf("%s without credentials: exposed %q", test.urls, got)
		}
	}
}
