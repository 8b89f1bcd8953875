package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/caddymodule/admin"
	"github.com/pullgate/pullgate/caddymodule/endpoint"
	"github.com/pullgate/pullgate/internal/nearest"
	"github.com/pullgate/pullgate/internal/oci"
)

// discover asks the running server for what was not given, and whether it
// mirrors what was. Where all that is needed was given, the server need not be
// there, nor be the one that the files are for.
func (c *clientConfig) discover(ctx context.Context) error {
	o := &c.options
	complete := o.Endpoint != nil && len(o.Upstreams) > 0
	secured := complete && (o.Endpoint.Scheme != "https" || len(o.Authority) > 0)
	named := c.address != "" || c.config != ""
	err := c.ask(ctx)
	switch {
	case err == nil || !complete || named && !secured:
		return err
	case !secured:
		c.remarks = append(c.remarks, "without --ca, clients have to trust the gateway's certificate already")
	case named:
		c.remarks = append(c.remarks, "nobody could be asked what the gateway mirrors: "+err.Error())
	}
	return nil
}

// ask takes over what the server says, where nothing was given.
func (c *clientConfig) ask(ctx context.Context) error {
	if err := checkAddress("--address", c.address, "localhost", "2019"); err != nil {
		return err
	}
	address, err := admin.Address(c.address, nil, c.config, c.adapter)
	if err != nil {
		return err
	}
	config, err := admin.Get(ctx, address, "/config/")
	if err != nil {
		err = admin.Explain(ctx, address, err)
		return fmt.Errorf("no server to ask for what was not given; start it, or give --endpoint and the upstreams: %w", err)
	}
	endpoints, err := endpoint.Of(config)
	if err != nil {
		return fmt.Errorf("configuration of the server at %s: %w", address, err)
	}
	o := &c.options
	chosen, err := endpoint.Choose(endpoints, o.Endpoint, len(o.Upstreams) > 0)
	if err != nil {
		return fmt.Errorf("the server at %s %w", address, err)
	}
	if o.Endpoint == nil {
		if o.Endpoint, err = url.Parse(chosen.URL); err != nil {
			return err
		}
	}
	if chosen.Login && o.Username == "" {
		c.remarks = append(c.remarks, "the gateway asks for a user: give --user and --password-file")
	}
	c.match(chosen.Upstreams)
	if len(o.Authority) > 0 || chosen.Authority == "" || o.Endpoint.Scheme != "https" {
		return nil
	}
	raw, err := admin.Get(ctx, address, "/pki/ca/"+url.PathEscape(chosen.Authority))
	if err != nil {
		return fmt.Errorf("certificate authority %s of the server at %s: %w", chosen.Authority, address, err)
	}
	var info struct {
		Root string `json:"root_certificate"`
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return fmt.Errorf("certificate authority %s of the server at %s: %w", chosen.Authority, address, err)
	}
	o.Authority = []byte(info.Root)
	return nil
}

// match compares the upstreams that are wanted with those that the gateway has,
// which are all wanted where none is named. One whose name cannot stand in an
// image reference goes by an alias that can, if it has one.
func (c *clientConfig) match(upstreams []endpoint.Upstream) {
	o := &c.options
	if len(o.Upstreams) == 0 {
		for _, u := range upstreams {
			c.take(u)
		}
	}
	var known []string
	of := map[string]endpoint.Upstream{}
	for _, u := range upstreams {
		for _, name := range u.Names() {
			known = append(known, name)
			of[name] = u
		}
	}
	slices.Sort(known)
	for _, name := range o.Upstreams {
		at := name
		if o.Names[name] != "" {
			at = o.Names[name]
		}
		switch u, ok := of[at]; {
		case len(known) == 0:
		case !ok:
			c.remarks = append(c.remarks, fmt.Sprintf("the gateway does not mirror %s, as far as its configuration tells%s", at, guess(at, known)))
		case at == name && !o.ByNamespace && strings.Contains(name, ":"):
			plain := slices.IndexFunc(u.Names(), func(n string) bool { return !strings.Contains(n, ":") })
			if plain >= 0 {
				c.rename(name, u.Names()[plain])
			}
		}
	}
}

// take adds the names of an upstream by which images can mean it.
func (c *clientConfig) take(u endpoint.Upstream) {
	before := len(c.options.Upstreams)
	for _, name := range u.Names() {
		if oci.IsRegistry(name) {
			c.options.Upstreams = append(c.options.Upstreams, name)
		}
	}
	if len(c.options.Upstreams) == before {
		c.remarks = append(c.remarks, fmt.Sprintf("the upstream %s is left out: no image name begins so; name it as HOST=%s, with the registry's host in image names", u.Name, u.Name))
	}
}

// guess says which of the known names may have been meant.
func guess(name string, known []string) string {
	if near := nearest.Name(name, known); near != "" {
		return ": did you mean " + near + "?"
	}
	return ": it has " + strings.Join(known, ", ")
}
