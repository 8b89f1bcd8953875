package registrytest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// world is a server of a profile with one repository of each visibility, "open/app",
// "closed/app" and "secret/app" by the profile's naming, and what a client does there.
type world struct {
	*Server

	t       *testing.T
	profile Profile
	images  map[string]Image // by group
}

func newWorld(t *testing.T, name string) *world {
	t.Helper()
	profiles := Profiles()
	i := slices.IndexFunc(profiles, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("there is no profile %s", name)
	}
	w := &world{t: t, profile: profiles[i], Server: New(t, Options{Profile: &profiles[i]}), images: map[string]Image{}}
	for seed, group := range []string{"open", "closed", "secret"} {
		w.images[group] = w.PutImage(w.name(group), "1", uint64(seed), 300)
		w.SetVisibility(w.name(group), Visibility(seed))
	}
	return w
}

func (w *world) name(group string) string { return w.profile.Repository(group, "app") }

// places puts what is known of the world into a text: {open}, {closed}, {secret},
// {gone} and {none}, in the group of the first, are repositories, {layer}, {hex},
// {index} and {indexhex} digests.
func (w *world) places(text string) string {
	index, layer := w.images["open"].Index.Digest, w.images["open"].Platforms[0].Layers[0].Digest
	return strings.NewReplacer(
		"{open}", w.name("open"), "{closed}", w.name("closed"), "{secret}", w.name("secret"), "{gone}", w.name("gone"),
		"{none}", w.profile.Repository("open", "none"), "{self}", w.URL(), "{host}", w.Addr(), "{token}", w.token.URL, "{cdn}", w.cdn.URL,
		"{layer}", layer.String(), "{hex}", layer.Encoded(), "{index}", index.String(), "{indexhex}", index.Encoded(),
	).Replace(text)
}

// answer is what came of a request, its redirects not followed.
type answer struct {
	*http.Response

	body string
}

// ask sends "GET /path" with an Authorization and more headers.
func (w *world) ask(request, authorization string, header ...string) answer {
	w.t.Helper()
	method, target, _ := strings.Cut(w.places(request), " ")
	if strings.HasPrefix(target, "/") {
		target = w.URL() + target
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, target, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Accept", ocispec.MediaTypeImageIndex+", "+ocispec.MediaTypeImageManifest)
	r.Header.Set("Accept-Encoding", "identity")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatalf("%s: %v", request, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // gitea's redirects announce more than they have
	return answer{resp, string(body)}
}

const basic = "Basic dXNlcjpwYXNzd29yZA=="

var parameter = regexp.MustCompile(`(\w+)="?([^",]*)"?`)

// tokenFor does what a challenge says, as somebody.
func (w *world) tokenFor(challenge, authorization string) answer {
	w.t.Helper()
	query, realm := url.Values{}, ""
	for _, m := range parameter.FindAllStringSubmatch(challenge, -1) {
		switch m[1] {
		case "realm":
			realm = m[2]
		case "service", "scope":
			query.Set(m[1], m[2])
		}
	}
	return w.ask("GET "+realm+"?"+query.Encode(), authorization)
}

// bearerIn returns the Authorization with the token of an answer.
func bearerIn(a answer) string {
	var document struct {
		Token  string `json:"token"`
		Access string `json:"access_token"`
	}
	_ = json.Unmarshal([]byte(a.body), &document)
	if document.Token == "" {
		document.Token = document.Access
	}
	return "Bearer " + document.Token
}

// as returns the Authorization that the challenge for a repository leads to.
func (w *world) as(who, group string) string {
	w.t.Helper()
	a := w.ask("GET /v2/"+w.name(group)+"/tags/list", "")
	if challenge := a.Header.Get("WWW-Authenticate"); strings.HasPrefix(challenge, "Bearer") {
		return bearerIn(w.tokenFor(challenge, who))
	}
	return who
}

// pull gets something the way that a careful client does, and returns where it ends.
func (w *world) pull(path, who string) answer {
	w.t.Helper()
	a := w.ask("GET "+path, "")
	challenge := a.Header.Get("WWW-Authenticate")
	switch {
	case a.StatusCode != http.StatusUnauthorized:
	case strings.HasPrefix(challenge, "Bearer"):
		token := w.tokenFor(challenge, who)
		if token.StatusCode != http.StatusOK {
			return token
		}
		a = w.ask("GET "+path, bearerIn(token))
	default:
		a = w.ask("GET "+path, who)
	}
	for a.StatusCode >= 300 && a.StatusCode < 400 {
		to, err := a.Request.URL.Parse(a.Header.Get("Location"))
		if err != nil {
			w.t.Fatal(err)
		}
		a = w.ask("GET "+to.String(), "")
	}
	return a
}

// TestProfilesServeCarefulClients pulls from every profile: whoever does what each of
// them asks for gets what they may, and nothing else.
func TestProfilesServeCarefulClients(t *testing.T) {
	t.Parallel()
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			for _, c := range []struct {
				group, who string
				ok         bool
			}{
				{"open", "", p.Auth.Tokens != nil || p.Auth.Open || !p.Auth.used()},
				{"open", basic, true},
				{"closed", "", false},
				{"closed", basic, p.HasAccounts()},
				{"secret", "", false},
				{"secret", basic, false},
				{"gone", "", false},
				{"gone", basic, false},
			} {
				w := newWorld(t, p.Name)
				image, known := w.images[c.group]
				if !known {
					image = w.images["open"]
				}
				platform := image.Platforms[0]
				for _, x := range []struct{ path, body string }{
					{"/manifests/1", string(image.IndexBytes)},
					{"/manifests/" + platform.Manifest.Digest.String(), string(platform.ManifestBytes)},
					{"/blobs/" + platform.Layers[0].Digest.String(), string(Random(uint64(slices.Index([]string{"open", "closed", "secret"}, c.group))<<16, 300))},
				} {
					a := w.pull("/v2/"+w.name(c.group)+x.path, c.who)
					if c.ok && (a.StatusCode != http.StatusOK || a.body != x.body) || !c.ok && a.StatusCode < 400 {
						t.Errorf("%s%s as %q: %s %.200s", c.group, x.path, c.who, a.Status, a.body)
					}
				}
			}
		})
	}
}
