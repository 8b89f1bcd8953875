package upstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pullgate/pullgate/internal/oci"
)

// How long a token is used: four fifths of what its server says, all of it if
// there is no new one then. The server is believed within these bounds. 60 s is also what it means to say nothing
// (Docker, "Token Authentication Specification").
const (
	minTokenLife = time.Minute
	maxTokenLife = time.Hour
	// credentialsGood is how long what a keychain said is believed.
	credentialsGood = 5 * time.Minute
)

// grant is what a request is authorized with, and how to drop it when the
// registry does not take it.
type grant struct {
	header string
	forget func()
}

func (g grant) drop() {
	if g.forget != nil {
		g.forget()
	}
}

// authorize returns a grant for a repository. An empty one means that there is
// nothing to authorize with.
func (c *Client) authorize(ctx context.Context, e *endpoint, k *knowledge, repository string) (grant, error) {
	switch k.challenge.Scheme {
	case schemeBasic:
		return c.basic(ctx, e)
	case schemeBearer:
		return c.bearer(ctx, e, k, repository)
	}
	return grant{}, nil
}

func (c *Client) basic(ctx context.Context, e *endpoint) (grant, error) {
	entry, err := c.credentials(ctx, e)
	if err != nil {
		return grant{}, err
	}
	config, forget := entry.value, func() { e.credentials.forget("", entry) }
	switch {
	case config.RegistryToken != "":
		return grant{"Bearer " + config.RegistryToken, forget}, nil
	case config.Username != "" && config.Password != "":
		pair := config.Username + ":" + config.Password
		return grant{"Basic " + base64.StdEncoding.EncodeToString([]byte(pair)), forget}, nil
	case config.Auth != "":
		return grant{"Basic " + config.Auth, forget}, nil
	}
	return grant{}, nil
}

func (c *Client) bearer(ctx context.Context, e *endpoint, k *knowledge, repository string) (grant, error) {
	scopes := k.scopes(repository)
	key := strings.Join(append([]string{k.challenge.Parameters["realm"], k.challenge.Parameters["service"]}, scopes...), "\x00")
	entry, err := e.tokens.get(ctx, key, func(ctx context.Context) (string, time.Duration, error) {
		return c.exchange(ctx, e, k.challenge, scopes)
	})
	if err != nil {
		return grant{}, asFailure(ctx, e.base.Host, err)
	}
	return grant{"Bearer " + entry.value, func() { e.tokens.forget(key, entry) }}, nil
}

// credentials returns what the keychain says for an endpoint.
func (c *Client) credentials(ctx context.Context, e *endpoint) (*memoEntry[authn.AuthConfig], error) {
	entry, err := e.credentials.get(ctx, "", func(ctx context.Context) (authn.AuthConfig, time.Duration, error) {
		config, err := c.o.Credentials.resolve(ctx, e)
		if err != nil {
			return config, 0, &failure{class: oci.ClassToken, text: "no credentials for " + e.base.Host, err: err}
		}
		return config, credentialsGood, nil
	})
	if err != nil {
		return nil, asFailure(ctx, e.base.Host, err)
	}
	return entry, nil
}

// exchange asks a token server for a token.
func (c *Client) exchange(
	ctx context.Context, e *endpoint, challenge transport.Challenge, scopes []string,
) (string, time.Duration, error) {
	realm, trusted, err := c.realm(ctx, e, challenge.Parameters["realm"])
	if err != nil {
		return "", 0, &failure{
			class: oci.ClassForbidden, text: e.base.Host + " names a token server that is not asked: " + err.Error(),
		}
	}
	identity := authn.Anonymous
	if trusted {
		entry, err := c.credentials(ctx, e)
		if err != nil {
			return "", 0, err
		}
		if entry.value.RegistryToken != "" {
			return entry.value.RegistryToken, credentialsGood, nil
		}
		identity = authn.FromConfig(entry.value)
	}
	// Exchange refuses private realms that are not the registry's own host. The
	// guard has a say in that here, so the realm passes as its own registry.
	registry, err := name.NewRegistry(realm.Host, name.WeakValidation)
	if err != nil {
		return "", 0, &failure{class: oci.ClassToken, text: "the token server's name is no host name"}
	}
	challenge.Insecure = realm.Scheme == "http"
	token, err := transport.Exchange(ctx, registry, identity, tokenTransport{c, e}, scopes, &challenge)
	if err != nil {
		return "", 0, tokenFailure(ctx, realm.Host, err)
	}
	value, good, err := readToken(token)
	if err != nil {
		return "", 0, &failure{class: oci.ClassToken, text: "the token server " + realm.Host + " sent " + err.Error()}
	}
	return value, good, nil
}

// readToken returns the token of an answer and for how long to use it.
func readToken(t *transport.Token) (string, time.Duration, error) {
	value := t.AccessToken
	if t.Token != "" {
		value = t.Token
	}
	for i := range len(value) {
		if value[i] <= ' ' || value[i] > '~' {
			return "", 0, errors.New("a token that cannot stand in a header")
		}
	}
	if value == "" {
		return "", 0, errors.New("no token")
	}
	life := time.Duration(min(max(t.ExpiresIn, 0), int(maxTokenLife/time.Second))) * time.Second
	return value, max(life, minTokenLife) * 4 / 5, nil
}

// realm checks the realm of a challenge, and says whether it may see secrets.
func (c *Client) realm(ctx context.Context, e *endpoint, s string) (realm *url.URL, trusted bool, err error) {
	realm, err = url.Parse(s)
	if err != nil {
		return nil, false, errors.New("its realm is no URL")
	}
	if err := checkURL(realm); err != nil {
		return nil, false, err
	}
	if e.origin.scheme == "https" && realm.Scheme != "https" {
		return nil, false, errors.New("its realm leaves TLS")
	}
	at := originOf(realm)
	if at == e.origin {
		return realm, true, nil
	}
	if at == wellKnownAuthOrigin(e.origin) || slices.Contains(c.authOrigins, at) {
		return realm, true, nil
	}
	if err := c.guard.literal(ctx, realm); err != nil {
		return nil, false, err
	}
	return realm, false, nil
}

// tokenTransport carries the exchange's requests. It turns what is no answer
// into failures, so that no text of a token server gets into an error.
type tokenTransport struct {
	c *Client
	e *endpoint
}

// RoundTrip implements http.RoundTripper.
func (t tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	o := outgoing{op: opToken, method: r.Method, url: r.URL, header: r.Header.Clone()}
	o.authorization = o.header.Get("Authorization")
	o.header.Del("Authorization")
	if r.Body != nil {
		defer r.Body.Close()
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		o.body = string(raw)
	}
	a, err := t.c.send(r.Context(), t.e, o)
	if err != nil {
		return nil, err
	}
	notOAuth := r.Method == http.MethodPost && a.StatusCode == http.StatusNotFound
	switch {
	case a.StatusCode == http.StatusOK, notOAuth: // Exchange goes on with a GET after the latter
		return a.Response, nil
	case a.StatusCode >= 300 && a.StatusCode < 400:
		a.drain()
		return nil, &failure{class: oci.ClassToken, status: a.StatusCode, text: a.url.Host + " answered a status of no use"}
	}
	return nil, statusFailure(a, t.c.o.Now())
}

// tokenFailure says what a failed exchange means for the operation.
func tokenFailure(ctx context.Context, host string, err error) *failure {
	var f *failure
	if !errors.As(err, &f) {
		// Exchange's own errors quote the body, so they go no further.
		f = &failure{class: oci.ClassToken, text: "it did not answer with a token"}
		if ctx.Err() != nil {
			f = asFailure(ctx, host, ctx.Err())
		}
	}
	g := *f
	g.text = fmt.Sprintf("no token from the token server %s: %s", host, f.text)
	switch g.class {
	case oci.ClassDenied, oci.ClassRateLimited, oci.ClassTimeout, oci.ClassForbidden, oci.ClassCanceled, oci.ClassExhausted:
	default:
		g.class = oci.ClassToken
	}
	return &g
}
