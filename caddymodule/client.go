package caddymodule

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/upstream"
)

// clients has the upstream clients of the process, so that connections, tokens
// and the memory of rate limits survive reloads and are shared between sites.
// Clients of equal configuration are one, whatever the policy on top.
var clients = caddy.NewUsagePool()

type client struct {
	*upstream.Client
	name, key string
}

// Destruct implements caddy.Destructor.
func (c *client) Destruct() error {
	c.Close()
	return nil
}

// acquireClient returns the client of a provisioned upstream. Each call is
// paired with one of releaseClient.
func acquireClient(u *Upstream) (*client, error) {
	key := u.fingerprint()
	value, _, err := clients.LoadOrNew(key, func() (caddy.Destructor, error) {
		c, err := upstream.New(u.options())
		return &client{Client: c, name: u.Name, key: key}, err
	})
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", u.Name, err)
	}
	return value.(*client), nil
}

func releaseClient(c *client) error {
	_, err := clients.Delete(c.key)
	return err
}

// fingerprint is a hash of everything that a client is made of, secrets and the
// contents of files included.
func (u *Upstream) fingerprint() string {
	r := u.resolved
	h := sha256.New()
	// Quoted, so that no two lists of values look the same.
	fmt.Fprintf(h, "%q", [][]string{
		{u.Name, u.Credentials.sourceFingerprint(), r.login.username, r.login.password, fmt.Sprint(r.proxy), string(r.authorities)},
		u.urls(), u.AuthOrigin, u.AllowAddress,
	})
	for _, s := range u.urls() {
		if own := u.at(s); own != nil {
			fmt.Fprintf(h, "%q", []string{s, own.sourceFingerprint(), r.urlLogins[s].username, r.urlLogins[s].password})
		}
	}
	fmt.Fprintf(h, "%v %d %d", u.timeouts(), u.MaxFails, u.FailDuration)
	fmt.Fprintf(h, "%x", r.certificate.Certificate)
	return hex.EncodeToString(h.Sum(nil))
}

// options returns what the client of a provisioned upstream is made with.
func (u *Upstream) options() upstream.Options {
	r := u.resolved
	o := upstream.Options{
		Name:         u.Name,
		URLs:         r.urls,
		AuthOrigins:  u.AuthOrigin,
		Network:      upstream.Network{Proxy: r.proxy, AllowAddresses: r.allowAddresses},
		Timeouts:     u.timeouts(),
		MaxFails:     u.MaxFails,
		FailDuration: time.Duration(u.FailDuration),
		Observe:      metrics.observeRequest(u.Name),
		Received:     metrics.observeBytes(u.Name),
		Logger:       slog.New(newestLog{}),
	}
	if len(r.certificate.Certificate) > 0 {
		o.Certificates = []tls.Certificate{r.certificate}
	}
	if len(r.authorities) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM(r.authorities)
		o.RootCAs = pool
	}
	u.credentials(&o, r)
	return o
}

// policy returns the upstream as the mirror sees it.
func (u *Upstream) policy(remote mirror.Remote) mirror.Upstream {
	policy := mirror.Upstream{
		Name:            u.Name,
		Identity:        u.identity(),
		Remote:          remote,
		TagTTL:          time.Duration(u.TagTTL),
		Timeout:         u.timeouts().Operation + lookUpSlack,
		StaleTimeout:    time.Duration(u.StaleTimeout),
		StaleIfDenied:   u.staleIfDenied(),
		StaleIfGone:     time.Duration(u.StaleIfGone),
		MaxFills:        u.maxFills(),
		Parallel:        u.parallel(),
		LookAhead:       u.lookAhead(u.maxFills()),
		LookAheadSize:   u.LookAheadSize,
		VerifyRanges:    u.VerifyRanges,
		ImmutableTags:   u.resolved.immutableTags,
		MissesPerClient: u.MissesPerClient,
		Isolate:         u.isolated(),
		ProofTTL:        u.proofTTL(),
		Access:          mirror.Access{Public: !u.guarded(), Hint: guardedHint},
		Allow:           u.Allow,
		Deny:            u.Deny,
		Offline:         u.Offline,
	}
	switch u.TagTTL {
	case 0:
		policy.TagTTL = defaultTagTTL
	case -1:
		policy.TagTTL = 0
	}
	if u.Access != nil {
		policy.Access = mirror.Access{Public: u.Access.Public, Users: u.Access.Users}
	}
	return policy
}

// identity is the name under which the store keeps what this upstream has
// confirmed: tags, and which digests a repository has. Where the same name can
// mean other content, at another URL or to another user, it carries a hash of
// what makes the difference, so that one site never serves what only the
// upstream of another one has confirmed, and changed URLs leave no old tags
// behind. Passwords are not part of it: a new one is no new content. What
// everybody sees at the usual place is shared, and needs no hash.
func (u *Upstream) identity() string {
	if u.StoredAs != "" {
		return u.StoredAs
	}
	if slices.Equal(u.urls(), u.defaultURLs()) && !u.authenticates() {
		return u.Name
	}
	parts := append([]string{u.Credentials.sourceIdentity(), u.resolved.login.username}, u.urls()...)
	for _, s := range u.urls() {
		if own := u.at(s); own != nil {
			parts = append(parts, s, own.sourceIdentity(), u.resolved.urlLogins[s].username)
		}
	}
	if u.TLSClient != nil {
		sum := sha256.Sum256(u.resolved.certificate.Certificate[0])
		parts = append(parts, hex.EncodeToString(sum[:]))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return u.Name + "#" + hex.EncodeToString(sum[:6])
}
