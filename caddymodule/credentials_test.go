package caddymodule

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestPasswordIsForItsURL pulls what only the second URL has, and looks at who saw
// which password.
func TestPasswordIsForItsURL(t *testing.T) {
	first := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "one", Password: "first-secret"})
	second := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "two", Password: "second-secret"})
	image := second.PutImage("private/image", "1", 2, 10)
	t.Setenv("FIRST", "first-secret")
	t.Setenv("SECOND", "second-secret")
	s := newSite(t)
	for _, test := range []struct {
		name, options string
		first, second string // users that they saw
		pulls         bool
	}{
		{"one for all", "url {first} {second}\ncredentials one {env.FIRST}", "one", "", false},
		{"each its own", "url {first} {\ncredentials one {env.FIRST}\n}\nurl {second} {\ncredentials two {env.SECOND}\n}", "one", "two", true},
		{"one for all, and one's own", "url {first}\nurl {second} {\ncredentials two {env.SECOND}\n}\ncredentials one {env.FIRST}", "one", "two", true},
		{"only the second", "url {first}\nurl {second} {\ncredentials two {env.SECOND}\n}", "", "two", true},
	} {
		options := strings.NewReplacer("{first}", first.URL(), "{second}", second.URL()).Replace(test.options)
		s.load("registry_mirror {\nupstream registry.corp {\n" + options + "\naccess public\n}\n}")
		before := [2]int{len(first.Requests()), len(second.Requests())}
		response, body := s.client().get("/v2/proxy-registry.corp/private/image/manifests/" + image.Tag)
		if pulls := response.StatusCode == http.StatusOK; pulls != test.pulls {
			t.Errorf("%s: %s: %s", test.name, response.Status, body)
		}
		for i, upstream := range []*registrytest.Server{first, second} {
			requests := upstream.Requests()[before[i]:]
			if want := []string{test.first, test.second}[i]; len(requests) == 0 || usersOf(requests) != want {
				t.Errorf("%s: URL %d saw %q in %d requests, want %q", test.name, i, usersOf(requests), len(requests), want)
			}
		}
	}
}

// usersOf returns the users that requests named.
func usersOf(requests []registrytest.Request) string {
	var users []string
	for _, r := range requests {
		if user, _, ok := (&http.Request{Header: r.Header}).BasicAuth(); ok {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return strings.Join(slices.Compact(users), ",")
}
