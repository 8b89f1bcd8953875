package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	dockerHubURL  = "https://registry-1.docker.io"
	defaultTagTTL = 5 * time.Minute
)

// Upstream is one remote registry that a site mirrors, and the policy for it.
type Upstream struct {
	// The registry as image references name it: a host in lower case, with a
	// port if it has one ("docker.io", "harbor.corp:8443").
	Name string `json:"name"`

	// More names for the same upstream. docker.io is known as index.docker.io
	// and registry-1.docker.io too.
	Alias []string `json:"alias,omitempty"`

	Endpoint

	// The most bytes of blobs that this upstream may have brought into the store;
	// the least recently used go first. A blob that several upstreams have counts
	// to the one that was asked first. It is a limit for all sites that name the
	// upstream: two of them cannot have two. Default: 0, no limit but that of the
	// store.
	MaxSize int64 `json:"max_size,omitempty"`

	Tags
	Admission
	Connection
	Timeouts
	Resilience
	Download
	Sharing

	// How many look-ups, and how many downloads of blobs, one client may have
	// started at this upstream at a time; more of them wait for their turn. A
	// client is a user at an address. -1 = any number. Default: 64.
	MissesPerClient int `json:"misses_per_client,omitempty"`

	CacheOnly

	// Where in a Caddyfile an option stands ("Caddyfile:12") whose secrets or
	// files are looked up only when the configuration is loaded, so that the
	// error for a missing one can tell. The Caddyfile adapter writes it.
	Origin map[string]string `json:"origin,omitempty"`

	resolved *resolvedUpstream
}

// Tags says how long tags are believed.
type Tags struct {
	// How long a tag is believed before the upstream is asked again; -1 asks on
	// every pull. Default: 5m.
	TagTTL caddy.Duration `json:"tag_ttl,omitempty"`

	// A regular expression (RE2) for whole tags: v1 matches the tag v1 only, v1.* all
	// that begin so. Tags that match it are taken never to change, and not asked for
	// again. Default: none.
	ImmutableTags string `json:"immutable_tags,omitempty"`
}

// CacheOnly says that only the cache answers.
type CacheOnly struct {
	// Answer from the cache only, and never contact the upstream.
	Offline bool `json:"offline,omitempty"`

	// Answer with what the upstream had brought into the store while it was
	// configured with other URLs, credentials or certificates: the identity that it
	// is stored under, which the log tells ("docker.io#1f0c5d2a9b7e"). Only for one
	// that is offline. Since credentials may have brought it, only users that Caddy
	// has authenticated get it, unless access says otherwise. Default: what the
	// present configuration brings in.
	StoredAs string `json:"stored_as,omitempty"`
}

// resolvedUpstream is an Upstream with its values parsed, its secrets and files
// looked up. It is never encoded.
type resolvedUpstream struct {
	urls           []*url.URL
	allowAddresses []netip.Prefix
	immutableTags  *regexp.Regexp
	proxy          *url.URL
	login          login
	urlLogins      map[string]login // by URL
	authorities    []byte           // PEM
	certificate    tls.Certificate
}

// Provision parses what the configuration says and looks up secrets and files.
func (u *Upstream) Provision() error {
	if err := CheckHub(u); err != nil {
		return err
	}
	if err := u.Check(); err != nil {
		return fmt.Errorf("upstream %s: %w", u.Name, err)
	}
	r := &resolvedUpstream{urlLogins: map[string]login{}}
	u.resolved = r
	for _, s := range u.urls() {
		parsed, _ := parseURL(s)
		r.urls = append(r.urls, parsed)
	}
	for _, s := range u.AllowAddress {
		prefix, _ := parsePrefix(s)
		r.allowAddresses = append(r.allowAddresses, prefix.Masked())
	}
	if u.ImmutableTags != "" {
		r.immutableTags = regexp.MustCompile(`^(?:` + u.ImmutableTags + `)$`)
	}
	type lookUp struct {
		option string
		f      func(*caddy.Replacer, *resolvedUpstream) error
	}
	lookUps := []lookUp{
		{"credentials", u.lookUpCredentials},
		{"tls_ca", u.loadAuthorities},
		{"tls_client", u.loadCertificate},
		{"proxy", u.lookUpProxy},
	}
	for _, s := range u.urls() {
		lookUps = append(lookUps, lookUp{urlOption(s), u.lookUpURLCredentials(s)})
	}
	for _, lookUp := range lookUps {
		if err := lookUp.f(caddy.NewReplacer(), r); err != nil {
			return u.optionError(lookUp.option, err)
		}
	}
	return nil
}

// Provisioned reports whether secrets and files were looked up.
func (u *Upstream) Provisioned() bool { return u.resolved != nil }

// optionError is why an option cannot be used, and where it stands.
func (u *Upstream) optionError(option string, err error) error {
	err = fmt.Errorf("upstream %s: %s: %w", u.Name, option, err)
	if origin := u.Origin[option]; origin != "" {
		err = fmt.Errorf("%w, at %s", err, origin)
	}
	return err
}

// Check tells what is wrong with the form of the values. The Caddyfile parser
// makes the same checks one by one, to name the line.
func (u *Upstream) Check() error {
	errs := []error{
		checkName(u.Name), each(checkName, u.Alias), each(checkURL, u.URL), each(checkOrigin, u.AuthOrigin),
		each(checkPrefix, u.AllowAddress), each(oci.CheckGlob, u.Allow), each(oci.CheckGlob, u.Deny),
		checkRegexp(u.ImmutableTags), u.Credentials.check(), u.checkURLCredentials(), u.Access.check(), checkProxy(u.Proxy), u.Timeouts.check(), u.Resilience.check(), u.Download.check(), u.Sharing.check(),
	}
	if u.TagTTL < -1 {
		errs = append(errs, errors.New("tag_ttl must not be negative, except -1 (ask on every pull)"))
	}
	if u.MissesPerClient < -1 {
		errs = append(errs, errors.New("misses_per_client must not be negative, except -1 (any number)"))
	}
	if u.MaxSize < 0 {
		errs = append(errs, errors.New("max_size cannot be negative; leave it out to have no limit"))
	}
	if u.StoredAs != "" {
		errs = append(errs, checkIdentity(u.Name, u.StoredAs))
		if !u.Offline {
			errs = append(errs, errors.New("stored_as is for an upstream that is offline: what is pulled is stored as what the configuration is"))
		}
	}
	if u.TLSClient != nil && (u.TLSClient.Certificate == "" || u.TLSClient.Key == "") {
		errs = append(errs, errors.New("tls_client needs both files, certificate and key"))
	}
	return errors.Join(errs...)
}

// urls returns the configured URLs or the default one.
func (u *Upstream) urls() []string {
	if len(u.URL) > 0 {
		return u.URL
	}
	return defaultURLs(u.Name)
}

func defaultURLs(name string) []string {
	if name == oci.DockerHub {
		return []string{dockerHubURL}
	}
	return []string{"https://" + name}
}

// authenticates reports whether the upstream sees who we are, so that what it
// answers need not be for everybody.
func (u *Upstream) authenticates() bool {
	return u.Credentials != nil || u.TLSClient != nil ||
		slices.ContainsFunc(u.urls(), func(s string) bool { return u.at(s) != nil })
}

// Everybody reports whether everybody may pull from the upstream here.
func (u *Upstream) Everybody() bool {
	return u.Access.Admits("", u.Guarded())
}

// Guarded reports whether what the store has of the upstream need not be for
// everybody.
func (u *Upstream) Guarded() bool { return u.authenticates() || u.StoredAs != "" }
