package clientconfig

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// The grammar of image references that all clients share
// (distribution/reference: regexp.go; podman/container-libs: image/docker/reference/regexp.go).
var (
	referenceHost = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]+)?$`)
	referencePath = regexp.MustCompile(`^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$`)
)

// root returns the endpoint without a path.
func (o Options) root() string { return o.Endpoint.Scheme + "://" + o.Endpoint.Host }

// name returns what the gateway calls an upstream.
func (o Options) name(upstream string) string {
	if name := o.Names[upstream]; name != "" {
		return name
	}
	return upstream
}

// component returns what stands for an upstream in the paths of the gateway.
func (o Options) component(upstream string) string { return "proxy-" + o.name(upstream) }

// prefixed returns the URL below which the repositories of an upstream lie.
func (o Options) prefixed(upstream string) string { return o.root() + "/v2/" + o.component(upstream) }

// registry returns the gateway as the registry of an image reference. A single
// word would be a namespace of Docker Hub there, so it gets the port of its
// scheme; and so does an IPv6 address, which older Docker daemons take with a port
// only.
func (o Options) registry() string {
	host := o.Endpoint.Host
	switch {
	case o.Endpoint.Port() != "" || oci.IsRegistry(host) && host[0] != '[':
		return host
	case o.Endpoint.Scheme == "https":
		return host + ":443"
	}
	return host + ":80"
}

// location returns an upstream as the beginning of an image reference. A port
// cannot stand in its path, where a colon begins the tag.
func (o Options) location(upstream string) (string, error) {
	component := o.component(upstream)
	if !referencePath.MatchString(component) {
		alias := strings.ReplaceAll(o.name(upstream), ":", "-")
		return "", fmt.Errorf("upstream %[1]s: no image reference can hold %[2]s: give the upstream an alias at the gateway, "+
			"as in \"upstream %[3]s { alias %[4]s }\", and say %[1]s=%[4]s here", upstream, component, o.name(upstream), alias)
	}
	return o.registry() + "/" + component, nil
}

// checkReferenceHost tells whether the endpoint can be the registry of an image
// reference; v6 says that the client reads IPv6 addresses there.
func (o Options) checkReferenceHost(v6 bool) error {
	switch host := o.registry(); {
	case host[0] == '[' && !v6:
		return errors.New("no image reference of this client can hold an IPv6 address: give the gateway a name in DNS, and that as the endpoint")
	case host[0] != '[' && !referenceHost.MatchString(host):
		return fmt.Errorf("no image reference can hold the host %s: "+
			"give the gateway a name of letters, digits, dots and dashes, and that as the endpoint", o.Endpoint.Hostname())
	}
	return nil
}

// names are the registries that clients with wild cards are told about: with one
// address for all of them, the wild card.
func (o Options) names() []string {
	if o.ByNamespace {
		return []string{"*"}
	}
	return o.Upstreams
}

// endpoint is the address for one of names.
func (o Options) endpoint(name string) string {
	if o.ByNamespace {
		return o.root()
	}
	return o.prefixed(name)
}
