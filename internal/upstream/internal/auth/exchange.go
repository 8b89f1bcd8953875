package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// exchange asks a token server for a token, as the upstream's user if it may know
// who that is. The repository is the first that it is for.
func (r *Registry) exchange(ctx context.Context, server tokenServer, way challenge, repository string) (string, time.Duration, error) {
	identity, realm := authn.Anonymous, server.url
	identified := false
	if server.trusted {
		entry, _, err := r.login(ctx)
		if err != nil {
			return "", 0, err
		}
		login := entry.Value
		if login.RegistryToken != "" {
			return login.RegistryToken, credentialsGood, nil
		}
		identified = login.Username != "" || login.IdentityToken != ""
		identity = authn.FromConfig(authn.AuthConfig{
			Username: login.Username, Password: login.Password, IdentityToken: login.IdentityToken,
		})
	}
	// Exchange refuses private realms that are not the registry's own host. The
	// guard has a say in that here, so the realm passes as its own registry.
	host, err := name.NewRegistry(realm.Host, name.WeakValidation)
	if err != nil {
		return "", 0, &wire.Failure{Class: oci.ClassToken, Text: "the token server's name is no host name"}
	}
	parameters := map[string]string{"realm": realm.String(), "service": way.service}
	token, err := transport.Exchange(ctx, host, identity, tokenTransport{r, server.by, repository}, strings.Fields(way.scope), &transport.Challenge{
		Scheme: way.scheme, Parameters: parameters, Insecure: realm.Scheme == "http",
	})
	if err != nil {
		f := tokenFailure(ctx, realm.Host, err)
		f.Identity = identified && f.Status == http.StatusUnauthorized
		return "", 0, f
	}
	value, good, err := readToken(token)
	if err != nil {
		return "", 0, &wire.Failure{Class: oci.ClassToken, Text: "the token server " + realm.Host + " sent " + err.Error()}
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

// maxTokenAnswer is how many bytes of an answer are read.
const maxTokenAnswer = 64 << 10

// tokenTransport carries the exchange's requests. It turns what is no answer
// into failures, so that no text of a token server gets into an error.
type tokenTransport struct {
	r          *Registry
	by         egress.Leader
	repository string
}

// RoundTrip implements http.RoundTripper.
func (t tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	o := wire.Request{Op: wire.OpToken, Method: r.Method, Repository: t.repository, URL: r.URL, By: t.by, Header: r.Header.Clone()}
	o.Authorization = o.Header.Get("Authorization")
	o.Header.Del("Authorization")
	if r.Body != nil {
		defer r.Body.Close()
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		o.Body = string(raw)
	}
	a, err := t.r.sender.Send(r.Context(), o)
	if err != nil {
		return nil, err
	}
	switch {
	case a.StatusCode == http.StatusOK:
		return plain(r.Context(), a)
	case r.Method == http.MethodPost && (a.StatusCode == http.StatusNotFound || a.StatusCode == http.StatusMethodNotAllowed):
		a.Response.StatusCode = http.StatusNotFound // after which Exchange goes on with a GET
		return a.Response, nil
	case a.StatusCode >= 300 && a.StatusCode < 400:
		a.Drain()
		return nil, &wire.Failure{Class: oci.ClassToken, Status: a.StatusCode, Text: a.URL.Host + " answered a status of no use"}
	}
	return nil, wire.StatusFailure(a, t.r.now())
}

// plain reads the answer of a token server, with the tolerance that real ones need,
// and writes what matters of it as Exchange reads it: expires_in may be a string or
// missing, and a token has one of two names, while the other may be empty.
func plain(ctx context.Context, a *wire.Answer) (*http.Response, error) {
	raw, err := a.Read(ctx, maxTokenAnswer)
	if err != nil {
		return nil, err
	}
	var sent map[string]any
	if err := json.Unmarshal(raw, &sent); err != nil {
		return nil, &wire.Failure{Class: oci.ClassToken, Status: a.StatusCode, Text: "it did not answer with a token"}
	}
	text := func(field string) string { s, _ := sent[field].(string); return s }
	raw, err = json.Marshal(transport.Token{
		Token: text("token"), AccessToken: text("access_token"), RefreshToken: text("refresh_token"),
		ExpiresIn: seconds(sent["expires_in"]),
	})
	if err != nil {
		return nil, err
	}
	a.Body, a.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	return a.Response, nil
}

// seconds reads a JSON value; 0 = it is no number of them.
func seconds(value any) int {
	n, ok := value.(float64)
	if s, isText := value.(string); isText {
		parsed, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		n, ok = parsed, err == nil
	}
	if !ok || n < 0 || n != n { // a text can say NaN
		return 0
	}
	return int(min(n, maxTokenLife.Seconds()))
}

// tokenFailure says what a failed exchange means for the operation.
func tokenFailure(ctx context.Context, host string, err error) *wire.Failure {
	var f *wire.Failure
	if !errors.As(err, &f) {
		// Exchange's own errors quote the body, so they go no further.
		f = &wire.Failure{Class: oci.ClassToken, Text: "it did not answer with a token"}
		if ctx.Err() != nil {
			f = wire.AsFailure(ctx, host, ctx.Err())
		}
	}
	g := *f
	g.Unreached = false // it is not the registry's host
	g.Text = fmt.Sprintf("no token from the token server %s: %s", host, strings.Replace(f.Text, host+" ", "it ", 1))
	switch g.Class {
	case oci.ClassDenied, oci.ClassRateLimited, oci.ClassTimeout, oci.ClassForbidden, oci.ClassCanceled, oci.ClassExhausted:
	default:
		g.Class = oci.ClassToken
	}
	return &g
}
