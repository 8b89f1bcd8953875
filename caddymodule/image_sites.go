package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
)

// imageSite is a handler, for operations on images: which upstreams it has, and by what
// names.
type imageSite struct {
	names     map[string]registry.Upstream
	upstreams []*Upstream
	service   *service       // nil if it does not run
	mirror    *mirror.Mirror // set while somebody is in
}

// place is where an image lies: the scope, and what is asked for it.
type place struct {
	scope    oci.Scope
	upstream *Upstream
	site     *imageSite
}

// imageSites are those of one configuration.
type imageSites []*imageSite

// liveSites returns those of the newest configuration that runs on a store, which
// is at path unless that is empty. The error is an answer of the admin API.
func liveSites(path string) (*cache, imageSites, error) {
	if path != "" {
		path = realPath(path)
	}
	generations.RLock()
	defer generations.RUnlock()
	for _, g := range slices.Backward(generations.list) {
		if path != "" && g.cache.path != path {
			continue
		}
		g.run.mu.Lock()
		services := slices.Clone(g.run.handlers)
		g.run.mu.Unlock()
		var live imageSites
		for _, s := range services {
			live = append(live, &imageSite{names: s.names, upstreams: s.upstreams, service: s})
		}
		return g.cache, live, nil
	}
	err := errors.New("no store is open")
	if path != "" {
		err = fmt.Errorf("no store is open at %s", path)
	}
	return nil, nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
}

// sitesOf returns those of a configuration in JSON, wherever in it they stand.
// Nothing is looked up yet.
func sitesOf(config []byte) (imageSites, error) {
	var root any
	if err := json.Unmarshal(config, &root); err != nil {
		return nil, err
	}
	var found imageSites
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
				s, err := siteOf(v)
				found = append(found, s)
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
	err := visit(root)
	return found, err
}

func siteOf(config map[string]any) (*imageSite, error) {
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	var h Handler
	if err := json.Unmarshal(raw, &h); err != nil {
		return nil, err
	}
	names, err := h.names()
	return &imageSite{names: names, upstreams: h.Upstreams}, err
}

// plainSites returns one with the upstreams of images, as they are where nothing is
// configured.
func plainSites(images []imagelist.Image) (imageSites, error) {
	var h Handler
	known := map[string]bool{}
	for _, i := range images {
		if !known[i.Upstream] {
			known[i.Upstream] = true
			h.Upstreams = append(h.Upstreams, &Upstream{Name: i.Upstream})
		}
	}
	names, err := h.names()
	return imageSites{{names: names, upstreams: h.Upstreams}}, err
}

// find returns where an image lies, if some site has its upstream: once for each
// identity of that. All of its upstreams are provisioned.
func (l imageSites) find(i imagelist.Image) (places []place) {
	for _, p := range l.lookUp(i) {
		p.scope.Upstream = p.upstream.identity()
		if !slices.ContainsFunc(places, func(other place) bool { return other.scope == p.scope }) {
			places = append(places, p)
		}
	}
	return places
}

// lookUp returns all sites that mirror an image. The scopes have the names of the
// upstreams only.
func (l imageSites) lookUp(i imagelist.Image) (places []place) {
	for _, s := range l {
		name, ok := s.names[i.Upstream]
		if !ok {
			continue
		}
		repository := oci.CanonicalRepository(name.Name, i.Repository)
		u := s.upstreams[slices.IndexFunc(s.upstreams, func(u *Upstream) bool { return u.Name == name.Name })]
		places = append(places, place{scope: oci.Scope{Upstream: u.Name, Repository: repository}, upstream: u, site: s})
	}
	return places
}

// unknown says why nobody pulls an image.
func unknown(i imagelist.Image) string {
	return "no site mirrors " + i.Upstream + ": add it to the configuration"
}

// wants returns what is to be looked for.
func (l imageSites) wants(images []imagelist.Image) (wants []image.Want) {
	for _, i := range images {
		places := l.find(i)
		if len(places) == 0 {
			wants = append(wants, image.Want{Image: i, Error: unknown(i)})
		}
		for _, p := range places {
			wants = append(wants, image.Want{Image: i, Scopes: []oci.Scope{p.scope}})
		}
	}
	return wants
}

// preloadWants returns what is to be pulled, through sites that somebody is in.
func (l imageSites) preloadWants(images []imagelist.Image) (wants []image.PreloadWant) {
	for _, i := range images {
		places := l.find(i)
		if len(places) == 0 {
			wants = append(wants, image.PreloadWant{Image: i, Error: unknown(i)})
		}
		for _, p := range places {
			wants = append(wants, image.PreloadWant{Image: i, Scope: p.scope, Upstream: p.upstream.Name, Puller: p.site.mirror})
		}
	}
	return wants
}

// enter enters those that run. Who gets no error has to leave.
func (l imageSites) enter() error {
	for n, s := range l {
		var err error
		if s.mirror, err = s.service.enterAdmin(); err != nil {
			l[:n].leave()
			return err
		}
	}
	return nil
}

func (l imageSites) leave() {
	for _, s := range l {
		s.service.leave()
	}
}
