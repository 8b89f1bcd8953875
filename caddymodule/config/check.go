package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/internal/nearest"
	"github.com/pullgate/pullgate/internal/oci"
)

var (
	// hostPattern is the host[:port] of an image reference.
	hostPattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[0-9]{1,5})?$`)
	// identityPattern is a name and a fingerprint, as Upstream.identity makes them.
	identityPattern = regexp.MustCompile(`^[^#]+#[0-9a-f]{12}$`)
	// secretPattern is one placeholder that is resolved when the configuration
	// is loaded.
	secretPattern = regexp.MustCompile(`^\{(?:env|file)\.[^{}]+\}$`)
)

// checkName tells what is wrong with the name of an upstream.
func checkName(name string) error {
	if hostPattern.MatchString(name) {
		return nil
	}
	if strings.Contains(name, "://") {
		return fmt.Errorf("%q is no upstream name: want the registry's host as image references name it, such as docker.io; a URL goes into the option url", name)
	}
	return fmt.Errorf("%q is no upstream name: want a registry's host in lower case, such as docker.io or harbor.corp:8443", name)
}

// CheckHub refuses other names of Docker Hub, by which no image name begins, unless it
// is told where they lead.
func CheckHub(u *Upstream) error {
	if !oci.MeansDockerHub(u.Name) || len(u.URL) > 0 || u.Offline {
		return nil
	}
	return fmt.Errorf("upstream %s: docker.io is meant, as image names call Docker Hub: name it so, or give it a url", u.Name)
}

// checkIdentity tells what is wrong with an identity of an upstream.
func checkIdentity(name, identity string) error {
	if identity == name || identityPattern.MatchString(identity) && oci.UpstreamName(identity) == name {
		return nil
	}
	return fmt.Errorf("stored_as %q is no identity of %s: want %s, or %s# and the 12 digits that the log tells", identity, name, name, name)
}

// parseURL parses the base URL of an upstream. A text that may hold a password
// does not get into the error.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("url cannot be parsed: want https://host or https://host:port")
	case u.User != nil:
		return nil, errors.New("url holds a user name: put it, and the password, into the option credentials")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("url %q is no base URL: want https://host or https://host:port", s)
	}
	return u, nil
}

func checkURL(s string) error {
	_, err := parseURL(s)
	return err
}

func checkOrigin(s string) error {
	u, err := parseURL(s)
	if err != nil || strings.Trim(u.Path, "/") != "" {
		return errors.New("auth_origin is no origin: want https://host or https://host:port")
	}
	return nil
}

// parsePrefix parses a network, or one address.
func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Prefix(addr.BitLen())
	}
	return netip.ParsePrefix(s)
}

func checkPrefix(s string) error {
	if _, err := parsePrefix(s); err != nil {
		return fmt.Errorf("allow_address %q is no network: want a CIDR such as 10.0.0.0/8", s)
	}
	return nil
}

func checkRegexp(s string) error {
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Errorf("immutable_tags: %w", err)
	}
	return nil
}

// checkProxy checks what can be checked before placeholders are replaced.
func checkProxy(s string) error {
	if s == "" || secretPattern.MatchString(s) {
		return nil
	}
	switch u, err := url.Parse(s); {
	case err != nil:
		return errors.New("proxy cannot be parsed: want http://host:port")
	case u.User != nil:
		return errors.New("proxy holds a user name; write the whole URL as {env.NAME} or {file./path}, to keep the password out of the stored configuration")
	case u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("proxy %q is no proxy URL: want http://host:port", s)
	}
	return nil
}

// check never shows the password.
func (c *Credentials) check() error {
	switch {
	case c == nil:
		return nil
	case c.Provider != "" && (c.Username != "" || c.Password != ""):
		return errors.New("credentials are either a user name and a password, or a provider")
	case c.Provider != "" && !slices.Contains(sources(), c.Provider):
		return fmt.Errorf("credentials: unknown provider %q%s: want one of %s, or a user name and a password",
			c.Provider, nearest.Hint(c.Provider, sources()), strings.Join(sources(), ", "))
	case c.Provider == "" && (c.Username == "" || c.Password == ""):
		return errors.New("credentials need a user name and a password")
	case c.Provider == "" && !secretPattern.MatchString(c.Password):
		return errors.New("credentials hold a literal password, which would be stored and shown with the configuration; write {env.NAME} or {file./path} in its place")
	}
	return nil
}
