package caddymodule

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
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

	// Where the upstream is reached, tried in order: http or https URLs, with
	// the path that /v2/ lies below, if any. The path of a mirror that has
	// /v2/ in it ("/v2/proxy-docker.io") is what repositories lie below.
	// Default: https:// and the name, https://registry-1.docker.io for docker.io.
	URL []string `json:"url,omitempty"`

	// What the upstream is logged in to with. A user name and a password are sent to
	// one origin: of the first URL at the host that the upstream is named after, or
	// else of the first URL. Others are for url_credentials. Default: nothing,
	// anonymous.
	Credentials *Credentials `json:"credentials,omitempty"`

	// The credentials of single URLs, by the URL as it stands in url.
	URLCredentials map[string]*URLCredentials `json:"url_credentials,omitempty"`

	// Send credentials over http too, to other hosts than the loopback. Everybody on
	// the way can read them. Default: false, such a configuration is refused.
	InsecureCredentials bool `json:"insecure_credentials,omitempty"`

	// More origins that may see the credentials, besides the upstream's own and
	// the token servers of well-known registries. Token servers there may be at
	// private addresses.
	AuthOrigin []string `json:"auth_origin,omitempty"`

	// The most bytes of blobs that this upstream may have brought into the store;
	// the least recently used go first. A blob that several upstreams have counts
	// to the one that was asked first. It is a limit for all sites that name the
	// upstream: two of them cannot have two. Default: 0, no limit but that of the
	// store.
	MaxSize int64 `json:"max_size,omitempty"`

	// How long a tag is believed before the upstream is asked again; -1 asks on
	// every pull. Default: 5m.
	TagTTL caddy.Duration `json:"tag_ttl,omitempty"`

	// A regular expression (RE2) for whole tags: v1 matches the tag v1 only, v1.* all
	// that begin so. Tags that match it are taken never to change, and not asked for
	// again. Default: none.
	ImmutableTags string `json:"immutable_tags,omitempty"`

	// Who may pull from this upstream. Default: everybody, but only users that
	// Caddy has authenticated if it has credentials or a client certificate.
	Access *Access `json:"access,omitempty"`

	// Repositories to mirror, as globs: * matches inside a path component, **
	// across components. Default: all.
	Allow []string `json:"allow,omitempty"`

	// Repositories not to mirror, as globs. It wins over allow.
	Deny []string `json:"deny,omitempty"`

	// Private, loopback or link-local networks (CIDR) that the upstream's
	// redirects and token servers may lead to, and link-local ones that its URLs may
	// lie at. Default: none but the address and port of the connection that leads
	// there, and any port of an address that stands in url; the loopback only if it
	// stands there. Addresses of cloud metadata are never connected to.
	AllowAddress []string `json:"allow_address,omitempty"`

	// Files with certificate authorities (PEM) to trust besides the system's.
	// They are read when the configuration is loaded.
	TLSCA []string `json:"tls_ca,omitempty"`

	// The certificate to authenticate with.
	TLSClient *TLSClient `json:"tls_client,omitempty"`

	// URL of the HTTP proxy to connect through, which resolves names and decides which
	// addresses may be reached. One with a password has to be a placeholder ({env.*}, {file.*}). Default: the environment's, HTTPS_PROXY
	// and so on.
	Proxy string `json:"proxy,omitempty"`

	Timeouts
	Resilience
	Download
	Sharing

	// How many look-ups, and how many downloads of blobs, one client may have
	// started at this upstream at a time; more of them wait for their turn. A
	// client is a user at an address. -1 = any number. Default: 64.
	MissesPerClient int `json:"misses_per_client,omitempty"`

	// Answer from the cache only, and never contact the upstream.
	Offline bool `json:"offline,omitempty"`

	// Answer with what the upstream had brought into the store while it was
	// configured with other URLs, credentials or certificates: the identity that it
	// is stored under, which the log tells ("docker.io#1f0c5d2a9b7e"). Only for one
	// that is offline. Since credentials may have brought it, only users that Caddy
	// has authenticated get it, unless access says otherwise. Default: what the
	// present configuration brings in.
	StoredAs string `json:"stored_as,omitempty"`

	// Where in a Caddyfile an option stands ("Caddyfile:12") whose secrets or
	// files are looked up only when the configuration is loaded, so that the
	// error for a missing one can tell. The Caddyfile adapter writes it.
	Origin map[string]string `json:"origin,omitempty"`

	resolved *resolvedUpstream
}

// Access says who may pull from an upstream. Without any field set: every user
// that Caddy has authenticated.
type Access struct {
	// Everybody, authenticated or not.
	Public bool `json:"public,omitempty"`
	// Only these users ({http.auth.user.id}).
	Users []string `json:"users,omitempty"`
}

// TLSClient is a client certificate.
type TLSClient struct {
	// File with the certificate and its chain (PEM).
	Certificate string `json:"certificate"`
	// File with the private key (PEM).
	Key string `json:"key"`
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

// provision parses what the configuration says and looks up secrets and files.
func (u *Upstream) provision() error {
	if err := u.check(); err != nil {
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
		f      func(*caddy.Replacer) error
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
		if err := lookUp.f(caddy.NewReplacer()); err != nil {
			return u.optionError(lookUp.option, err)
		}
	}
	return nil
}

// optionError is why an option cannot be used, and where it stands.
func (u *Upstream) optionError(option string, err error) error {
	err = fmt.Errorf("upstream %s: %s: %w", u.Name, option, err)
	if origin := u.Origin[option]; origin != "" {
		err = fmt.Errorf("%w, at %s", err, origin)
	}
	return err
}

// check tells what is wrong with the form of the values. The Caddyfile parser
// makes the same checks one by one, to name the line.
func (u *Upstream) check() error {
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
	return u.defaultURLs()
}

func (u *Upstream) defaultURLs() []string {
	if u.Name == oci.DockerHub {
		return []string{dockerHubURL}
	}
	return []string{"https://" + u.Name}
}

// authenticates reports whether the upstream sees who we are, so that what it
// answers need not be for everybody.
func (u *Upstream) authenticates() bool {
	return u.Credentials != nil || u.TLSClient != nil ||
		slices.ContainsFunc(u.urls(), func(s string) bool { return u.at(s) != nil })
}

// everybody reports whether everybody may pull from the upstream here.
func (u *Upstream) everybody() bool {
	if u.Access != nil {
		return u.Access.Public
	}
	return !u.guarded()
}

// guarded reports whether what the store has of the upstream need not be for
// everybody.
func (u *Upstream) guarded() bool { return u.authenticates() || u.StoredAs != "" }

func (u *Upstream) loadAuthorities(repl *caddy.Replacer) error {
	for _, name := range u.TLSCA {
		raw, err := readFile(repl, name)
		if err != nil {
			return err
		}
		if !x509.NewCertPool().AppendCertsFromPEM(raw) {
			return fmt.Errorf("%s holds no certificate in PEM", name)
		}
		u.resolved.authorities = append(append(u.resolved.authorities, raw...), '\n')
	}
	return nil
}

func (u *Upstream) loadCertificate(repl *caddy.Replacer) error {
	if u.TLSClient == nil {
		return nil
	}
	certificate, err := readFile(repl, u.TLSClient.Certificate)
	if err != nil {
		return err
	}
	key, err := readFile(repl, u.TLSClient.Key)
	if err != nil {
		return err
	}
	u.resolved.certificate, err = tls.X509KeyPair(certificate, key)
	return err
}

func (u *Upstream) lookUpProxy(repl *caddy.Replacer) error {
	if u.Proxy == "" {
		return nil
	}
	s, err := lookUp(repl, u.Proxy)
	if err != nil {
		return err
	}
	// The error of url.Parse would show the password.
	parsed, err := url.Parse(s)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return errors.New("the value is no proxy URL: want http://host:port")
	}
	u.resolved.proxy = parsed
	return nil
}

// lookUp replaces placeholders. A missing one is an error that names it.
func lookUp(repl *caddy.Replacer, s string) (string, error) {
	value, err := repl.ReplaceOrErr(s, true, true)
	if err != nil {
		return "", fmt.Errorf("%w: set the variable, or write the file, before the server starts", err)
	}
	if strings.ContainsAny(value, "\r\n\x00") {
		return "", fmt.Errorf("the value of %s holds a line break or a NUL", s)
	}
	return value, nil
}

func readFile(repl *caddy.Replacer, name string) ([]byte, error) {
	name, err := lookUp(repl, name)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(name)
}
