package upstream

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// A probe tells whether a registry answers, and whether it knows us, with as few requests
// as that takes: it is no pull.
func TestProbe(t *testing.T) {
	basic := registrytest.Options{Auth: registrytest.AuthBasic, Username: "me", Password: "right"}
	bearer := registrytest.Options{Auth: registrytest.AuthBearer, Username: "me", Password: "right"}
	status := func(code int) registrytest.Hook {
		return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { w.WriteHeader(code) }
	}
	for name, test := range map[string]struct {
		o          registrytest.Options
		hook       registrytest.Hook
		password   string
		trusted    bool // the token server
		want       Condition
		error      string
		identified bool
		requests   int
	}{
		"open":                         {want: OK, requests: 1},
		"open, with credentials":       {password: "right", want: OK, requests: 1},
		"basic":                        {o: basic, password: "right", want: OK, identified: true, requests: 2},
		"basic, wrong":                 {o: basic, password: "wrong", want: Refused, error: "answered 401: it refused the user and password", requests: 2},
		"basic, nobody":                {o: basic, want: Denied, error: "wants credentials", requests: 1},
		"tokens for anybody":           {o: registrytest.Options{Auth: registrytest.AuthBearer}, want: OK, requests: 2},
		"token":                        {o: bearer, password: "right", trusted: true, want: OK, identified: true, requests: 2},
		"token, wrong":                 {o: bearer, password: "wrong", trusted: true, want: Refused, error: "refused the user and password", requests: 2},
		"token, another server":        {o: bearer, password: "right", want: Denied, error: "were not sent to the token server", requests: 1},
		"token, nobody":                {o: bearer, want: OK, requests: 2},
		"token, refused without scope": {o: bearer, hook: onlyTokens(status(http.StatusForbidden)), password: "right", trusted: true, want: OK, requests: 2},
		"token, limited":               {o: bearer, hook: onlyTokens(status(http.StatusTooManyRequests)), password: "right", trusted: true, want: Limited, error: "answered 429", requests: 2},
		"basic, not for the ping":      {o: basic, hook: withLogin(status(http.StatusForbidden)), password: "right", want: Denied, error: "answered 403", requests: 2},
		"no registry":                  {hook: status(http.StatusNotFound), want: Failing, error: "answered 404", requests: 1},
		"broken":                       {hook: status(http.StatusBadGateway), want: Failing, error: "answered 502", requests: 1},
		"limited":                      {hook: status(http.StatusTooManyRequests), want: Limited, error: "limits pulls", requests: 1},
		"down":                         {hook: registrytest.Abort, want: Failing, error: "no connection", requests: -1},
		"broken token server":          {o: bearer, hook: onlyTokens(status(http.StatusServiceUnavailable)), want: Failing, error: "no token from the token server", requests: 2},
		"token server that is no more": {o: bearer, hook: onlyTokens(registrytest.Abort), want: Failing, error: "no token from the token server", requests: -1},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newServer(t, test.o)
			s.Hook(test.hook)
			c := newClient(t, s.URL(), func(o *Options) {
				if test.password != "" {
					o.Credentials = BasicCredentials("me", test.password)
				}
				if test.trusted {
					o.AuthOrigins = []string{strings.TrimSuffix(s.TokenURL(), "/token")}
				}
			})
			got := c.Probe(t.Context())[0]
			if got.Condition != test.want || !strings.Contains(got.Error, test.error) || (got.Error == "") != (test.want == OK) ||
				(got.Help == "") != (test.want == OK) || got.Identified != test.identified || got.Login != (test.password != "") {
				t.Errorf("%+v", got)
			}
			if n := s.Count("", ""); test.requests >= 0 && n != test.requests {
				t.Errorf("the registry saw %d requests, want %d", n, test.requests)
			}
			if state := c.States()[0]; state.Condition != OK || state.Fails != 0 {
				t.Errorf("it counts for clients: %+v", state)
			}
		})
	}
}

// withLogin has the hook answer those who say who they are.
func withLogin(hook registrytest.Hook) registrytest.Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.Header.Get("Authorization") == "" {
			next(w, r)
			return
		}
		hook(w, r, next)
	}
}

func onlyTokens(hook registrytest.Hook) registrytest.Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.URL.Path != "/token" {
			next(w, r)
			return
		}
		hook(w, r, next)
	}
}

// Credentials that were good are tried again.
func TestProbeBelievesNothingOld(t *testing.T) {
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer, Username: "me", Password: "right"})
	c := newClient(t, s.URL(), func(o *Options) {
		o.Credentials, o.AuthOrigins = BasicCredentials("me", "right"), []string{strings.TrimSuffix(s.TokenURL(), "/token")}
	})
	if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
		t.Fatal(err)
	}
	s.Hook(onlyTokens(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	if got := c.Probe(t.Context())[0]; got.Condition != Refused {
		t.Errorf("%+v", got)
	}
}

// A registry tells the time, or not.
func TestProbeComparesClocks(t *testing.T) {
	s, _ := newServer(t, registrytest.Options{})
	now := newClock()
	c := newClient(t, s.URL(), func(o *Options) { o.Now = now.Now })
	for told, want := range map[string]time.Duration{
		now.Now().Format(http.TimeFormat):                 0,
		now.Now().Add(time.Hour).Format(http.TimeFormat):  time.Hour,
		now.Now().Add(-time.Hour).Format(http.TimeFormat): -time.Hour,
	} {
		s.Hook(registrytest.Spoil{Header: func(h http.Header) { h.Set("Date", told) }}.Hook())
		if got := c.Probe(t.Context())[0].Clock; got == nil || *got != want {
			t.Errorf("%s is %v ahead, want %v", told, got, want)
		}
	}
	s.Hook(registrytest.Spoil{Header: func(h http.Header) { h.Set("Date", "soon") }}.Hook())
	if got := c.Probe(t.Context())[0].Clock; got != nil {
		t.Errorf("it is %v ahead", got)
	}
}

// A clock that is far behind lets no certificate pass, which tells how far at least.
func TestProbeLearnsTheTimeFromCertificates(t *testing.T) {
	for ahead, want := range map[time.Duration]bool{24 * time.Hour: true, -24 * time.Hour: false} {
		certificate, pool := issueFrom(t, time.Now().Add(ahead), "127.0.0.1")
		s, _ := newServer(t, registrytest.Options{TLS: true, Certificate: &certificate})
		got := newClient(t, s.URL(), func(o *Options) { o.RootCAs = pool }).Probe(t.Context())[0]
		if got.Condition != Certificate || (got.Clock != nil) != want || want && (*got.Clock-ahead).Abs() > time.Minute {
			t.Errorf("of a certificate from in %v: %+v", ahead, got)
		}
	}
}

// A ping does not show that pulls are limited; who was told so remembers it. All URLs are
// probed.
func TestProbeKnowsOfLimits(t *testing.T) {
	s, image := newServer(t, registrytest.Options{})
	other, _ := newServer(t, registrytest.Options{})
	c := newClient(t, s.URL(), func(o *Options) { o.URLs = append(o.URLs, &url.URL{Scheme: "http", Host: other.Addr()}) })
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		w.Header().Set("ratelimit-limit", "100;w=21600")
		w.Header().Set("ratelimit-remaining", "0;w=21600")
		next(w, r)
	})
	if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
		t.Fatal(err)
	}
	got := c.Probe(t.Context())
	if len(got) != 2 || got[0].Condition != Limited || got[0].Error == "" || got[1].Condition != OK {
		t.Errorf("%+v", got)
	}
}
