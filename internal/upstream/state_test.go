package upstream

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// Each trouble has its word, since when, what went wrong and what helps; an answer ends it.
func TestStateTellsWhatIsWrong(t *testing.T) {
	s, image := newServer(t, registrytest.Options{})
	for name, test := range map[string]struct {
		url   string
		hook  registrytest.Hook
		class oci.Class
		want  Condition
		error string
		help  string
	}{
		"429": {
			hook: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
				w.Header().Set("Retry-After", "600")
				w.WriteHeader(http.StatusTooManyRequests)
			},
			class: oci.ClassRateLimited, want: Limited, error: "limits pulls until 03:14:05", help: "`tag_ttl`",
		},
		"one failure": {
			hook:  func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { w.WriteHeader(http.StatusBadGateway) },
			class: oci.ClassStatus, want: Failing, error: "answered 502", help: "check `url`",
		},
		"one repository is refused": {
			hook:  func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { w.WriteHeader(http.StatusForbidden) },
			class: oci.ClassDenied, want: OK,
		},
		"no such name":   {url: "https://registry.invalid", class: oci.ClassDNS, want: Unresolved, error: "does not resolve", help: "the DNS of this machine"},
		"no certificate": {url: strings.Replace(s.URL(), "http:", "https:", 1), class: oci.ClassTLS, want: Certificate, error: "no trusted TLS connection", help: "`tls_ca`"},
	} {
		t.Run(name, func(t *testing.T) {
			now := newClock()
			began := now.Now()
			at := s.URL()
			if test.url != "" {
				at = test.url
			}
			c := newClient(t, at, func(o *Options) { o.Now = now.Now })
			if test.hook != nil {
				s.Hook(test.hook)
				defer func() { s.Hook(nil) }()
			}
			_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
			wantClass(t, err, test.class)
			now.add(time.Second)
			got := c.States()[0]
			if got.Condition != test.want || !strings.Contains(got.Error, test.error) || !strings.Contains(got.Help, test.help) ||
				(got.Help == "") != (test.want == OK) || test.want != OK && !got.Since.Equal(began) {
				t.Errorf("%+v", got)
			}
			if test.want == Limited && !got.Until.Equal(began.Add(10*time.Minute)) {
				t.Errorf("until %v", got.Until)
			}
			if test.url != "" {
				return
			}
			s.Hook(nil)
			now.add(time.Hour)
			if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
				t.Fatal(err)
			}
			if got := c.States()[0]; got.Condition != OK || got.Error != "" {
				t.Errorf("after an answer: %+v", got)
			}
		})
	}
}

// Credentials are refused by a token server, or by the registry itself: once is enough.
func TestStateOfRefusedCredentials(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBearer, registrytest.AuthBasic} {
		s, image := newServer(t, registrytest.Options{Auth: auth, Username: "me", Password: "right"})
		c := newClient(t, s.URL(), func(o *Options) {
			o.Credentials, o.AuthOrigins = BasicCredentials("me", "wrong"), []string{strings.TrimSuffix(s.TokenURL(), "/token")}
		})
		_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
		wantClass(t, err, oci.ClassDenied)
		got := c.States()[0]
		if got.Condition != Refused || !strings.Contains(got.Error, "refused the user and password") {
			t.Errorf("%v: %+v", auth, got)
		}
	}
}

func TestStateTellsTheRateLimit(t *testing.T) {
	s, image := newServer(t, registrytest.Options{})
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		w.Header().Set("ratelimit-limit", "100;w=21600")
		w.Header().Set("ratelimit-remaining", "0;w=21600")
		next(w, r)
	})
	c := newClient(t, s.URL())
	if c.States()[0].Limit != nil {
		t.Error("nobody has told")
	}
	if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
		t.Fatal(err)
	}
	got := c.States()[0]
	if got.Condition != Limited || got.Limit == nil || *got.Limit != (RateLimit{Limit: 100, Window: 6 * time.Hour}) {
		t.Errorf("%+v, %+v", got, got.Limit)
	}
}

// What is the trouble of one repository does not speak for the upstream.
func TestHealthChargesWhomItBelongs(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	denied := &wire.Failure{Class: oci.ClassDenied, Status: http.StatusForbidden, Text: "denied"}
	refused := &wire.Failure{Class: oci.ClassDenied, Status: http.StatusUnauthorized, Identity: true, Text: "refused"}
	login := &wire.Failure{Class: oci.ClassDenied, Status: http.StatusUnauthorized, Login: true, Text: "refused"}
	broken := &wire.Failure{Class: oci.ClassStatus, Status: http.StatusBadGateway, Text: "broken"}
	silent := &wire.Failure{Class: oci.ClassTimeout, Text: "silent"}
	unasked := &wire.Failure{Class: oci.ClassDenied, Unasked: true}
	missing := &wire.Failure{Class: oci.ClassNotFound}
	type try struct {
		repository string
		f          *wire.Failure
	}
	for name, test := range map[string]struct {
		tries []try
		want  Condition
	}{
		"nothing":                            {nil, OK},
		"one private image":                  {[]try{{"a", denied}, {"a", denied}}, OK},
		"two of them":                        {[]try{{"a", denied}, {"b", denied}}, Denied},
		"two of them, and one that is not":   {[]try{{"a", denied}, {"b", denied}, {"c", nil}}, OK},
		"refused credentials":                {[]try{{"a", refused}}, Refused},
		"beside a repository with a token":   {[]try{{"a", refused}, {"b", nil}}, Refused},
		"a refused login":                    {[]try{{"a", login}}, Refused},
		"a refused login of one of two":      {[]try{{"a", nil}, {"b", login}}, OK},
		"refused logins":                     {[]try{{"a", nil}, {"b", login}, {"c", login}}, Refused},
		"refused logins, then one is not":    {[]try{{"a", login}, {"b", login}, {"c", nil}}, OK},
		"accepted credentials":               {[]try{{"a", refused}, {"a", nil}}, OK},
		"one broken repository of two":       {[]try{{"a", nil}, {"b", broken}}, OK},
		"the only repository is broken":      {[]try{{"a", broken}}, Failing},
		"two broken ones":                    {[]try{{"a", nil}, {"b", broken}, {"c", broken}}, Failing},
		"a 404 is an answer":                 {[]try{{"a", broken}, {"a", missing}}, OK},
		"silence":                            {[]try{{"a", silent}}, Slow},
		"the worst counts":                   {[]try{{"a", refused}, {"b", silent}}, Refused},
		"who is not asked cannot be refused": {[]try{{"a", unasked}, {"b", unasked}}, OK},
	} {
		var h health
		for _, try := range test.tries {
			h.answered(manifests, try.repository, try.f, now, time.Millisecond)
		}
		if got := h.state(now); got.Condition != test.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	var h health
	for range 10 {
		h.answered(manifests, "a", nil, now, 5*time.Second)
	}
	if got := h.state(now); got.Condition != Slow || !strings.Contains(got.Error, "on average") {
		t.Errorf("slow answers: %+v", got)
	}
	h.answered(manifests, "a", broken, now, time.Second)
	if got := h.state(now.Add(oldAfter + time.Minute)); got.Condition != OK {
		t.Errorf("an hour later, with nobody there: %+v", got)
	}
}
