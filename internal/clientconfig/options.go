package clientconfig

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
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

// File is one file of a client.
type File struct {
	// Path is where it belongs, relative to the client's directory.
	Path string
	// Content is all of it, with a line break at its end.
	Content []byte
	// Secret says that it holds a password.
	Secret bool
}

// Client is what files can be made for.
type Client struct {
	// Name is what users call it by.
	Name string
	// Directory is where the paths of its files begin on a node; empty where the
	// files are not put onto nodes one by one.
	Directory string

	files func(Options) ([]File, error)
	steps func(Options) []string
}

// Clients returns all of them, sorted by name.
func Clients() []Client {
	return []Client{
		{"buildkit", "/etc/buildkit", buildkit, buildkitSteps},
		{"containerd", "/etc/containerd/certs.d", containerd, containerdSteps},
		{"crio", "/etc", crio, crioSteps},
		{"docker", "/etc/docker", docker, dockerSteps},
		{"k3s", "/etc/rancher/k3s", k3s, k3sSteps},
		{"podman", "/etc/containers", podman, podmanSteps},
		{"talos", "", talos, talosSteps},
	}
}

// Files returns the files of a client, in the order in which they make sense to
// a reader. The error says what is wrong with the options, or that the client
// cannot do what they ask for.
func (c Client) Files(o Options) ([]File, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.MachineConfig && c.Name != "talos" {
		return nil, fmt.Errorf("%s: only Talos has a machine configuration", c.Name)
	}
	o.Upstreams = distinct(o.Upstreams)
	files, err := c.files(o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return files, nil
}

// Steps returns what is left to do once a client's files are in place, and what
// they do not cover; each is a line of prose.
func (c Client) Steps(o Options) []string { return c.steps(o) }

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
	for _, name := range o.Upstreams {
		if name == "" || strings.ContainsAny(name, "/ \t\r\n\"'\\") {
			return fmt.Errorf("upstream %q: want the host of a registry as images name it, such as docker.io", name)
		}
		if oci.CanonicalUpstream(name) != name {
			return fmt.Errorf("upstream %q: images name Docker Hub docker.io", name)
		}
	}
	return nil
}

// distinct returns names without those that came before.
func distinct(names []string) (out []string) {
	for _, name := range names {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
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

// root returns the endpoint without a path.
func (o Options) root() string { return o.Endpoint.Scheme + "://" + o.Endpoint.Host }

// prefixed returns the URL below which the repositories of an upstream lie.
func (o Options) prefixed(upstream string) string { return o.root() + "/v2/proxy-" + upstream }

// location returns an upstream as part of an image reference.
func (o Options) location(upstream string) string { return o.Endpoint.Host + "/proxy-" + upstream }

// has reports whether an upstream is among those that are wanted.
func (o Options) has(upstream string) bool { return slices.Contains(o.Upstreams, upstream) }
