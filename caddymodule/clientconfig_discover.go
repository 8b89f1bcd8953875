package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// discover asks the running server for what was not given. Where all that is
// needed was, the server is asked for the certificate authority only, and need
// not be there.
func (c *clientConfig) discover(ctx context.Context) error {
	o := &c.options
	complete := o.Endpoint != nil && len(o.Upstreams) > 0
	if complete && (o.Endpoint.Scheme != "https" || len(o.Authority) > 0) {
		return nil
	}
	err := c.ask(ctx)
	if err != nil && complete && c.address == "" && c.config == "" {
		c.remarks = append(c.remarks, "without --ca, clients have to trust the gateway's certificate already")
		return nil
	}
	return err
}

// ask takes over what the server says, where nothing was given.
func (c *clientConfig) ask(ctx context.Context) error {
	address, err := caddycmd.DetermineAdminAPIAddress(c.address, nil, c.config, c.adapter)
	if err != nil {
		return err
	}
	config, err := adminGet(ctx, address, "/config/")
	if err != nil {
		return fmt.Errorf("no server to ask for what was not given; start it, or give --endpoint and the upstreams: %w", err)
	}
	endpoints, err := endpointsOf(config)
	if err != nil {
		return fmt.Errorf("configuration of the server at %s: %w", address, err)
	}
	o := &c.options
	chosen, err := choose(endpoints, o.Endpoint, len(o.Upstreams) > 0)
	if err != nil {
		return fmt.Errorf("the server at %s %w", address, err)
	}
	if o.Endpoint == nil {
		if o.Endpoint, err = url.Parse(chosen.url); err != nil {
			return err
		}
	}
	if chosen.login && o.Username == "" {
		c.remarks = append(c.remarks, "the gateway asks for a user: give --user and --password-file")
	}
	if len(o.Upstreams) == 0 {
		o.Upstreams = chosen.upstreams
	}
	for _, name := range o.Upstreams {
		if len(chosen.upstreams) > 0 && !slices.Contains(chosen.upstreams, name) {
			c.remarks = append(c.remarks, "the gateway does not mirror "+name+", as far as its configuration tells")
		}
	}
	if len(o.Authority) > 0 || chosen.authority == "" || o.Endpoint.Scheme != "https" {
		return nil
	}
	raw, err := adminGet(ctx, address, "/pki/ca/"+url.PathEscape(chosen.authority))
	if err != nil {
		return fmt.Errorf("certificate authority %s of the server at %s: %w", chosen.authority, address, err)
	}
	var info struct {
		Root string `json:"root_certificate"`
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return fmt.Errorf("certificate authority %s of the server at %s: %w", chosen.authority, address, err)
	}
	o.Authority = []byte(info.Root)
	return nil
}

// choose picks the endpoint that clients are to use: the one at the URL, or the
// only one that other machines can reach. All upstreams of that address count;
// there may be none if the caller has named its own.
func choose(endpoints []endpoint, at *url.URL, named bool) (chosen endpoint, err error) {
	var urls []string
	for _, e := range endpoints {
		switch {
		case at == nil && (e.url == "" || e.loopback):
			continue
		case at != nil && e.url != "" && e.url != at.Scheme+"://"+at.Host:
			continue
		}
		if e.url != "" && !slices.Contains(urls, e.url) {
			urls = append(urls, e.url)
		}
		if chosen.url == "" {
			chosen.url, chosen.authority = e.url, e.authority
		}
		chosen.login = chosen.login || e.login
		for _, name := range e.upstreams {
			if !slices.Contains(chosen.upstreams, name) {
				chosen.upstreams = append(chosen.upstreams, name)
			}
		}
	}
	switch {
	case len(endpoints) == 0:
		return endpoint{}, errors.New("mirrors no registries")
	case at == nil && len(urls) == 0:
		return endpoint{}, errors.New("names no host that other machines could reach it by: give --endpoint")
	case at == nil && len(urls) > 1:
		return endpoint{}, fmt.Errorf("serves at several addresses, give one of them as --endpoint: %s", strings.Join(urls, ", "))
	case len(chosen.upstreams) == 0 && !named:
		return endpoint{}, fmt.Errorf("does not serve at %s, as far as its configuration tells: name the upstreams", at)
	}
	return chosen, nil
}

// adminGet reads an answer of the admin API of a running server.
func adminGet(ctx context.Context, address, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	response, err := askAdmin(ctx, address, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(io.LimitReader(response.Body, 64<<20))
}
