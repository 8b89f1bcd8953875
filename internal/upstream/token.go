package upstream

import (
	"context"
	"encoding/base64"
	"fmt"
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

// grant is what a request is authorized with. forget drops what it was made of,
// if that was known before the visit; nil = it was not.
type grant struct {
	header string
	forget func()
}

// drop forgets a grant that the registry has refused, and reports whether another
// one may do: if it is older than the visit.
func (g grant) drop() bool {
	if g.forget == nil {
		return false
	}
	g.forget()
	return true
}

// keep returns the grant of a memo's entry.
func keep[T any](v *visit, m *memo[T], key string, entry *memoEntry[T], header string, old bool) grant {
	g := grant{header: header}
	if old && !v.fresh[header] {
		g.forget = func() { m.forget(key, entry) }
	} else {
		v.fresh[header] = true
	}
	return g
}

// authorize returns a grant for one way to authenticate. An empty one means that
// there is nothing to authorize with.
func (v *visit) authorize(ctx context.Context, way challenge) (grant, error) {
	switch way.scheme {
	case schemeBasic:
		return v.basic(ctx)
	case schemeBearer:
		return v.bearer(ctx, way)
	}
	return grant{}, nil
}

func (v *visit) basic(ctx context.Context) (grant, error) {
	entry, old, err := v.c.credentials(ctx, v.e)
	if err != nil {
		return grant{}, err
	}
	var header string
	config := entry.value
	switch {
	case config.RegistryToken != "":
		header = "Bearer " + config.RegistryToken
	case config.Username != "" && config.Password != "":
		pair := config.Username + ":" + config.Password
		header = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	case config.Auth != "":
		header = "Basic " + config.Auth
	default:
		return grant{}, nil
	}
	v.identified = true
	return keep(v, v.e.credentials, "", entry, header, old), nil
}

func (v *visit) bearer(ctx context.Context, way challenge) (grant, error) {
	e := v.e
	server, err := v.realm(way.realm, e.base, e.carriers.of(way.realm))
	if err != nil {
		return grant{}, &failure{
			class: oci.ClassForbidden, text: e.base.Host + " names a token server that is not asked: " + err.Error(),
		}
	}
	switch known := !e.source.IsZero(); {
	case known && server.trusted:
		v.identified = true
	case known:
		v.withheld = originOf(server.url).String()
	}
	if way.scope == "" {
		way.scope = scopeOf(e.inner + v.repository)
	}
	key := tokenKey{way.realm, way.service, way.scope, server.trusted}.String()
	entry, old, err := e.tokens.get(ctx, key, func(ctx context.Context) (string, time.Duration, error) {
		return v.c.exchange(ctx, e, server, way)
	})
	if err != nil {
		return grant{}, v.denied(asFailure(ctx, e.base.Host, err))
	}
	return keep(v, e.tokens, key, entry, "Bearer "+entry.value, old), nil
}

// denied adds to a failure to get a token what a person can do about it.
func (v *visit) denied(f *failure) *failure {
	told := *f
	if f.class == oci.ClassDenied {
		told.text += v.refusal()
	}
	return &told
}

// anonymous returns a token that anybody gets, as another registry wants one that
// a redirect has led to.
func (v *visit) anonymous(ctx context.Context, way challenge, a *answer) (string, error) {
	server, err := v.realm(way.realm, a.url, a.from)
	if err != nil {
		return "", &failure{
			class: oci.ClassForbidden, text: a.url.Host + " names a token server that is not asked: " + err.Error(),
		}
	}
	key := tokenKey{way.realm, way.service, way.scope, false}.String()
	entry, _, err := v.e.tokens.get(ctx, key, func(ctx context.Context) (string, time.Duration, error) {
		return v.c.exchange(ctx, v.e, server, way)
	})
	if err != nil {
		return "", err
	}
	return entry.value, nil
}

// tokenKey is what a token was given for. identified tells those of the upstream's
// user from those that anybody gets.
type tokenKey struct {
	realm, service, scope string
	identified            bool
}

func (k tokenKey) String() string {
	return fmt.Sprintf("%s\x00%s\x00%s\x00%t", k.realm, k.service, k.scope, k.identified)
}

// credentials returns what the keychain says for an endpoint.
func (c *Client) credentials(ctx context.Context, e *endpoint) (entry *memoEntry[authn.AuthConfig], old bool, err error) {
	entry, old, err = e.credentials.get(ctx, "", func(ctx context.Context) (authn.AuthConfig, time.Duration, error) {
		config, err := e.source.resolve(ctx, e)
		if err != nil {
			return config, 0, &failure{class: oci.ClassToken, text: "no credentials for " + e.base.Host, err: err}
		}
		return config, credentialsGood, nil
	})
	if err != nil {
		return nil, false, asFailure(ctx, e.base.Host, err)
	}
	return entry, old, nil
}

// exchange asks a token server for a token, as the upstream's user if it may know
// who that is.
func (c *Client) exchange(
	ctx context.Context, e *endpoint, server tokenServer, way challenge,
) (string, time.Duration, error) {
	identity, realm := authn.Anonymous, server.url
	if server.trusted {
		entry, _, err := c.credentials(ctx, e)
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
	parameters := map[string]string{"realm": realm.String(), "service": way.service}
	token, err := transport.Exchange(ctx, registry, identity, tokenTransport{c, e, server.by}, strings.Fields(way.scope), &transport.Challenge{
		Scheme: way.scheme, Parameters: parameters, Insecure: realm.Scheme == "http",
	})
	if err != nil {
		return "", 0, tokenFailure(ctx, realm.Host, err)
	}
	value, good, err := readToken(token)
	if err != nil {
		return "", 0, &failure{class: oci.ClassToken, text: "the token server " + realm.Host + " sent " + err.Error()}
	}
	return value, good, nil
}
