package caddymodule

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/pullgate/pullgate/caddymodule/command"
	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/upstream"
	"github.com/pullgate/pullgate/storage"
)

// configuration is one that commands read, and nobody runs.
type configuration struct {
	raw     []byte
	storage *config.Storage
}

// readConfiguration reads a configuration in JSON; nil = the defaults.
func readConfiguration(raw []byte) (command.Configuration, error) {
	var c struct {
		Apps struct {
			Mirror App `json:"registry_mirror"`
		} `json:"apps"`
	}
	if raw != nil {
		if err := json.Unmarshal(raw, &c); err != nil {
			return nil, err
		}
	}
	return configuration{raw, c.Apps.Mirror.Storage}, nil
}

// Folder implements command.Configuration.
func (c configuration) Folder() (string, error) { return c.storage.Folder() }

// Limits implements command.Configuration.
func (c configuration) Limits() (storage.Limits, error) {
	if c.storage == nil {
		return storage.Limits{}, nil
	}
	return c.storage.Limits()
}

// Sites implements command.Configuration. It returns all handlers, wherever in the
// configuration they stand.
func (c configuration) Sites() (sites operate.Sites, err error) {
	if c.raw == nil {
		return nil, nil
	}
	var root any
	if err := json.Unmarshal(c.raw, &root); err != nil {
		return nil, err
	}
	var visit func(v any) error
	visit = func(v any) error {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				if err := visit(item); err != nil {
					return err
				}
			}
		case map[string]any:
			if v["handler"] == "registry_mirror" {
				site, err := configuredSite(v)
				sites = append(sites, site)
				return err
			}
			for _, key := range slices.Sorted(maps.Keys(v)) {
				if err := visit(v[key]); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err = visit(root)
	return sites, err
}

// configuredSite returns the site of a handler that does not run. Nothing is looked up
// yet.
func configuredSite(handler map[string]any) (*operate.Site, error) {
	raw, err := json.Marshal(handler)
	if err != nil {
		return nil, err
	}
	var h Handler
	if err := json.Unmarshal(raw, &h); err != nil {
		return nil, err
	}
	names, err := h.names()
	if err != nil {
		return nil, err
	}
	site := siteOf(names, h.Upstreams)
	site.Enter = h.enter
	return site, nil
}

// enter returns what pulls from the upstreams that are provisioned, where no server
// runs.
func (h *Handler) enter(c *mirror.Cache) (_ image.Puller, leave func(), err error) {
	var clients []*upstream.Client
	leave = func() {
		c.Close() // what it still asks, it asks the clients
		for _, client := range clients {
			client.Close()
		}
	}
	defer func() {
		if err != nil {
			leave()
		}
	}()
	var o mirror.Options
	for _, u := range h.Upstreams {
		if !u.Provisioned() {
			continue
		}
		options := u.ClientOptions()
		options.Logger = slog.New(slog.DiscardHandler) // the report tells
		client, err := upstream.New(options)
		if err != nil {
			return nil, nil, fmt.Errorf("upstream %s: %w", u.Name, err)
		}
		clients = append(clients, client)
		policy := u.Policy(client)
		policy.Access = mirror.Access{Public: true}
		o.Upstreams = append(o.Upstreams, policy)
	}
	m, err := mirror.New(c, o)
	return m, leave, err
}
