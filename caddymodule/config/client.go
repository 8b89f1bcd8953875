package config

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/upstream"
)

// Fingerprint is a hash of everything that a client is made of, secrets and the
// contents of files included.
func (u *Upstream) Fingerprint() string {
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

// ClientOptions returns what the client of a provisioned upstream is made with.
func (u *Upstream) ClientOptions() upstream.Options {
	r := u.resolved
	o := upstream.Options{
		Name:         u.Name,
		URLs:         r.urls,
		AuthOrigins:  u.AuthOrigin,
		Network:      upstream.Network{Proxy: r.proxy, AllowAddresses: r.allowAddresses},
		Timeouts:     u.timeouts(),
		MaxFails:     u.MaxFails,
		FailDuration: time.Duration(u.FailDuration),
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

// guardedHint is why nobody who is not logged in may use an upstream, and what to do
// about it.
const guardedHint = "the upstream has credentials, and no option access, so that it answers only users whom Caddy has " +
	"authenticated: log in, put basic_auth into the site, or give the upstream access public"

// lookUpSlack is how much longer the mirror waits than the client tries, so that
// it is the client's error that is told: it names what did not answer.
const lookUpSlack = 250 * time.Millisecond

// Policy returns the upstream as the mirror sees it.
func (u *Upstream) Policy(remote mirror.Remote) mirror.Upstream {
	policy := mirror.Upstream{
		Name:     u.Name,
		Identity: u.Identity(),
		RemoteID: u.Fingerprint(),
		Remote:   remote,
		Freshness: mirror.Freshness{
			TagTTL:        time.Duration(u.TagTTL),
			ImmutableTags: u.resolved.immutableTags,
			StaleIfDenied: u.staleIfDenied(),
			StaleIfGone:   time.Duration(u.StaleIfGone),
		},
		Bounds: mirror.Bounds{
			Timeout:         u.timeouts().Operation + lookUpSlack,
			StaleTimeout:    time.Duration(u.StaleTimeout),
			MaxFills:        u.maxFills(),
			Parallel:        u.parallel(),
			LookAhead:       u.lookAhead(u.maxFills()),
			LookAheadSize:   u.LookAheadSize,
			MissesPerClient: u.MissesPerClient,
		},
		VerifyRanges: u.VerifyRanges,
		Isolate:      u.Isolated(),
		ProofTTL:     u.proofTTL(),
		Access:       mirror.Access{Public: !u.Guarded(), Hint: guardedHint},
		Allow:        u.Allow,
		Deny:         u.Deny,
		Offline:      u.Offline,
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

// LookUp returns the identity also of an upstream that is not provisioned, which it is
// then.
func (u *Upstream) LookUp() (string, error) {
	if !u.Provisioned() {
		provisioned := *u
		if err := provisioned.Provision(); err != nil {
			return "", err
		}
		*u = provisioned
	}
	return u.Identity(), nil
}

// Identity is the name under which the store keeps what this upstream has
// confirmed: tags, and which digests a repository has. Where the same name can
// mean other content, at another URL or to another user, it carries a hash of
// what makes the difference, so that one site never serves what only the
// upstream of another one has confirmed, and changed URLs leave no old tags
// behind. Passwords are not part of it: a new one is no new content. What
// everybody sees at the usual place is shared, and needs no hash.
func (u *Upstream) Identity() string {
	if u.StoredAs != "" {
		return u.StoredAs
	}
	if slices.Equal(u.urls(), defaultURLs(u.Name)) && !u.authenticates() {
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
