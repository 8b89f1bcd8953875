package operate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Endpoint is where a site is served.
type Endpoint struct {
	URL              string // as clients spell it
	Network, Address string // where it listens
}

// expiry is how long before its end a certificate should have been renewed: a tenth of
// its life, but not more than this.
const expiry = 7 * 24 * time.Hour

// visit is what a probe does at one endpoint.
type visit struct {
	client *http.Client
	url    string
	// certificate is that of the site; nil = there is none.
	certificate *x509.Certificate
}

// probe asks the site as clients on this machine would, and tells how that went and what
// is wrong with its certificate.
func (e Endpoint) probe(ctx context.Context, s *Store, site *Site, tell func(ProbeLine)) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	v := &visit{url: e.URL}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, e.Network, e.Address)
		},
		// Whom clients trust is not known here; the rest is looked at below.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(c tls.ConnectionState) error { //nolint:gosec // nothing secret is sent
			v.certificate = c.PeerCertificates[0]
			return nil
		}},
	}
	defer transport.CloseIdleConnections()
	v.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	began := time.Now()
	line := v.pull(ctx, s, site)
	line.What, line.Name, line.Seconds = ProbeSite, e.URL, time.Since(began).Seconds()
	if v.certificate != nil {
		tell(certificateFinding(e.URL, v.certificate, time.Now()))
	}
	tell(line)
}

// pull does what containerd does first: the version check, then a look at a manifest, one
// for which no upstream is asked.
func (v *visit) pull(ctx context.Context, s *Store, site *Site) ProbeLine {
	failing := func(help, format string, args ...any) ProbeLine {
		return ProbeLine{State: StateFailing, Text: fmt.Sprintf(format, args...), Help: help}
	}
	status, header, err := v.ask(ctx, http.MethodGet, "/v2/", nil)
	switch {
	case err != nil && strings.Contains(err.Error(), "certificate required"):
		return ProbeLine{OK: true, State: StateNotTested, Text: "it wants a client certificate"}
	case err != nil && strings.Contains(err.Error(), "tls: internal error"):
		return failing("the log says why there is none", "it has no certificate for this name")
	case err != nil:
		return failing("see whether the address is this server's, and what the log says", "no answer: %v", err)
	case status == http.StatusUnauthorized:
		return ProbeLine{OK: true, State: StateOK, Text: "it answers, and asks for a user, so no pull is tried"}
	case status != http.StatusOK || header.Get("Docker-Distribution-Api-Version") == "":
		return failing("look for what else the site has for /v2/", "it answers %d to /v2/, but not as a registry", status)
	}
	image, found := s.sample(ctx, site)
	if !found {
		return ProbeLine{OK: true, State: StateOK, Text: "it answers; nothing is cached that a pull could be tried with"}
	}
	query := url.Values{"ns": {image.Upstream}}
	status, header, err = v.ask(ctx, http.MethodHead, "/v2/"+image.Repository+"/manifests/"+image.Digest.String(), query)
	name := image.Upstream + "/" + image.Repository + ":" + image.tag
	switch {
	case err != nil:
		return failing("see what the log says", "no answer for %s: %v", name, err)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ProbeLine{OK: true, State: StateOK, Text: "it answers, and not everybody may pull " + name}
	case status != http.StatusOK || header.Get("Docker-Content-Digest") != image.Digest.String():
		return failing("see what the log says", "%s is cached, and it answers %d", name, status)
	}
	return ProbeLine{OK: true, State: StateOK, Text: "it answers, and serves " + name}
}

// ask returns what an answer says before its body.
func (v *visit) ask(ctx context.Context, method, path string, query url.Values) (status int, header http.Header, err error) {
	target := v.url + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("User-Agent", "pullgate-check")
	request.Header.Set("Accept", "*/*")
	response, err := v.client.Do(request)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the rest is known
	}
	if err != nil {
		return 0, nil, err
	}
	return response.StatusCode, response.Header, response.Body.Close()
}

// sample is an image that a site serves from the cache.
type sample struct {
	Upstream, Repository, tag string
	Digest                    digest.Digest
}

// sample returns an image of the site that is stored.
func (s *Store) sample(ctx context.Context, site *Site) (image sample, found bool) {
	catalog, err := s.Catalog(ctx)
	if err != nil {
		return image, false
	}
	defer catalog.Close()
	for _, u := range site.Upstreams {
		for tag, err := range catalog.Tags(ctx, u.Name, "") {
			if err != nil {
				break
			}
			if tag.Scope.Upstream == u.Identity && s.proves(ctx, tag.Scope, tag.Digest) {
				return sample{u.Name, tag.Scope.Repository, tag.Name, tag.Digest}, true
			}
		}
	}
	return image, false
}

// proves reports whether a manifest is served without asking anybody.
func (s *Store) proves(ctx context.Context, scope oci.Scope, d digest.Digest) bool {
	link, err := s.Linked(ctx, scope, d)
	if err != nil || !link.Proven {
		return false
	}
	_, err = s.Manifest(ctx, d)
	return err == nil
}

// certificateFinding tells what is wrong with the certificate of a site. An authority is
// not looked for.
func certificateFinding(at string, c *x509.Certificate, now time.Time) ProbeLine {
	line := ProbeLine{What: ProbeSite, Name: at, State: StateWrong}
	host := ""
	if u, err := url.Parse(at); err == nil {
		host = u.Hostname()
	}
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	until := c.NotAfter.Local().Format(time.DateTime)
	left := c.NotAfter.Sub(now)
	switch {
	case left <= 0:
		line.Text, line.Help = "its certificate has expired at "+until, "renew it; the log says why that did not happen by itself"
	case now.Before(c.NotBefore):
		line.Text, line.Help = "its certificate is not good before "+c.NotBefore.Local().Format(time.DateTime), "check the clock of this machine"
	case c.VerifyHostname(host) != nil:
		line.Text = fmt.Sprintf("its certificate is for %s, not for %s", strings.Join(names, ", "), host)
		line.Help = "name the host in the address of the site, or give it a certificate that has it"
	case left < min(c.NotAfter.Sub(c.NotBefore)/10, expiry):
		line.Text, line.Help = "its certificate is good until "+until+" only", "renew it; the log says why that did not happen by itself"
	default:
		line.OK, line.State = true, StateOK
		line.Text = fmt.Sprintf("its certificate is for %s, until %s", strings.Join(names, ", "), until)
	}
	return line
}
