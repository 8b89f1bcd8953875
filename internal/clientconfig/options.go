package clientconfig

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// Options say where the gateway is and what clients are to use it for.
type Options struct {
	// Endpoint is where clients reach the gateway: a scheme, a host and perhaps a
	// port. Required.
	Endpoint *url.URL
	// Upstreams are the registries to pull through the gateway, as images name
	// them. Required, at least one.
	Upstreams []string
	// Names are what the gateway calls upstreams, where that is not what images
	// call them: an alias, or the name of an upstream that has a url.
	Names map[string]string
	// Username and Password are what the gateway asks for; empty = nothing.
	Username, Password string
	// Authority is the certificate authority (PEM) that has signed the gateway's
	// certificate; empty = one that clients trust anyway.
	Authority []byte
	// SkipFallback makes clients never go around the gateway.
	SkipFallback bool
	// ByNamespace gives clients one address for all registries, without a path:
	// they tell by the parameter ns which one they mean.
	ByNamespace bool
	// MachineConfig makes the files of Talos for releases before 1.12.
	MachineConfig bool
}

var (
	// hostPattern is a host other than an IPv6 address. DNS has no underscore, but the
	// names of container networks may have one.
	hostPattern = regexp.MustCompile(`^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?$`)
	// namePattern is what the gateway may call an upstream.
	namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?$`)
)

func (o Options) check() error {
	e := o.Endpoint
	switch {
	case e == nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https":
		return errors.New("endpoint: want http:// or https://, a host and perhaps a port")
	case strings.Trim(e.Path, "/") != "" || e.RawQuery != "" || e.Fragment != "" || e.User != nil:
		return fmt.Errorf("endpoint %s: want a scheme, a host and nothing more: the path is that of the upstream", e.Redacted())
	case len(o.Upstreams) == 0:
		return errors.New("no upstream: name at least one registry, such as docker.io")
	case (o.Username == "") != (o.Password == ""):
		return errors.New("a user needs a password, and a password a user")
	case strings.ContainsAny(o.Username, ":\r\n\x00") || strings.ContainsAny(o.Password, "\r\n\x00"):
		return errors.New("a user name cannot hold a colon, nor can it or a password hold a line break")
	case len(o.Authority) > 0 && e.Scheme != "https":
		return errors.New("a certificate authority needs an endpoint with https://")
	case len(o.Authority) > 0 && !x509.NewCertPool().AppendCertsFromPEM(o.Authority):
		return errors.New("certificate authority: no certificate in PEM")
	}
	if err := checkHost(e); err != nil {
		return err
	}
	for _, name := range o.Upstreams {
		if err := o.checkUpstream(name); err != nil {
			return err
		}
	}
	return nil
}

// checkHost tells what is wrong with the host and port of an endpoint, of which
// package url lets pass more than clients do.
func checkHost(e *url.URL) error {
	if port := e.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("endpoint %s: %s is no port", e.Redacted(), port)
		}
	}
	address, err := netip.ParseAddr(e.Hostname())
	switch {
	case err == nil && address.Zone() != "":
		return fmt.Errorf("endpoint %s: an address with a zone holds on this machine only: give one that all clients reach", e.Redacted())
	case err != nil && !hostPattern.MatchString(strings.ToLower(e.Hostname())):
		return fmt.Errorf("endpoint %s: want the host as DNS spells it, in ASCII", e.Redacted())
	}
	return nil
}

func (o Options) checkUpstream(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "/ \t\r\n\"'\\"):
		return fmt.Errorf("upstream %q: want the host of a registry as images name it, such as docker.io", name)
	case oci.CanonicalUpstream(name) != name:
		return fmt.Errorf("upstream %q: images name Docker Hub docker.io", name)
	case !oci.IsRegistry(name):
		return fmt.Errorf("upstream %q: an image name that begins so means Docker Hub: want the host of a registry as images name it; "+
			"if %s is the gateway's name for it, say HOST=%s", name, name, name)
	case !namePattern.MatchString(o.name(name)):
		return fmt.Errorf("upstream %s: %q is no name of an upstream: want a registry's host in lower case, such as docker.io or harbor.corp:8443", name, o.name(name))
	case o.ByNamespace && o.name(name) != name:
		return fmt.Errorf("upstream %s: with ns, clients tell the gateway that name: make it an alias there, and leave =%s out", name, o.name(name))
	}
	return nil
}

// normal returns options that differ in no way that makes no difference.
func (o Options) normal() Options {
	e := *o.Endpoint
	e.Host, e.Path = strings.TrimSuffix(strings.ToLower(e.Host), ":"), ""
	o.Endpoint = &e
	var distinct []string
	for _, name := range o.Upstreams {
		if !slices.Contains(distinct, name) {
			distinct = append(distinct, name)
		}
	}
	o.Upstreams = distinct
	return o
}

// authority returns the certificates alone, whatever else stood in the file.
func (o Options) authority() []byte {
	var out []byte
	for block, rest := pem.Decode(o.Authority); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
		}
	}
	return out
}

// has reports whether an upstream is among those that are wanted.
func (o Options) has(upstream string) bool { return slices.Contains(o.Upstreams, upstream) }

// loopback reports whether only the machine itself reaches the endpoint.
func (o Options) loopback() bool {
	host := o.Endpoint.Hostname()
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (address.IsLoopback() || address.IsUnspecified())
}
