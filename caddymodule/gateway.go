package caddymodule

import (
	"cmp"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/caddymodule/admin"
	"github.com/pullgate/pullgate/caddymodule/command"
	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/caddymodule/dashboard"
	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/metrics"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/pulls"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/upstream"
)

func init() {
	caddy.RegisterModule(admin.New(gateway()))
	caddy.RegisterModule(dashboard.New(dashboard.Options{Gateway: gateway(), User: user}))
	command.Register(readConfiguration)
}

// gateway returns the verbs on what this process serves. It has no state: stores and
// clients are looked up for each request.
func gateway() *operate.Local {
	return &operate.Local{
		Stores: func() (open []*operate.Store) {
			for _, c := range openCaches() {
				open = append(open, &c.Store)
			}
			return open
		},
		Sites: liveSites, Server: server, Upstreams: upstreamStatuses, Traffic: counted.Traffic, Tracked: tracked.Pulls,
	}
}

// counted is what the process counts. It is registered with the registry of every
// configuration, so counts survive reloads.
var counted = metrics.New(metrics.Options{
	Version: version(), Stores: storeStatuses, Upstreams: upstreamStatuses,
	Panicked: func(p any) {
		slog.New(newestLog{}).Error("metrics panicked", "panic", p, "stack", string(debug.Stack()))
	},
})

// tracked are the pulls of images that the process has seen. As what is counted, they
// survive reloads.
var tracked = pulls.New(pulls.Options{
	Running: runningFills, Ended: counted.Pull, Log: slog.New(newestLog{}), Now: time.Now,
	AfterFunc: func(d time.Duration, fn func()) { time.AfterFunc(d, fn) },
})

// runningFills returns the downloads that run.
func runningFills() (running []mirror.FillEvent) {
	for _, c := range openCaches() {
		running = append(running, c.Mirror.Running()...)
	}
	return running
}

// storeStatuses returns the state of the open stores.
func storeStatuses() (statuses []operate.StoreStatus) {
	for _, c := range openCaches() {
		statuses = append(statuses, c.Status())
	}
	return statuses
}

// upstreamStatuses returns how the URLs of the clients in use fare, the worst state where several clients have one name and URL.
func upstreamStatuses() []operate.UpstreamStatus {
	worst := map[[2]string]operate.UpstreamStatus{}
	clients.Range(func(_, value any) bool {
		c, ok := value.(*client)
		if !ok {
			return true // one that is still being made
		}
		for _, s := range c.States() {
			key := [2]string{c.name, s.URL}
			if old, ok := worst[key]; !ok || s.Condition.Level() > upstream.Condition(old.State).Level() {
				worst[key] = upstreamStatus(c.name, s)
			}
		}
		return true
	})
	statuses := make([]operate.UpstreamStatus, 0, len(worst))
	for _, s := range worst {
		statuses = append(statuses, s)
	}
	slices.SortFunc(statuses, func(a, b operate.UpstreamStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.URL, b.URL))
	})
	return statuses
}

func upstreamStatus(name string, s upstream.State) operate.UpstreamStatus {
	status := operate.UpstreamStatus{
		Name: name, URL: s.URL, State: string(s.Condition), Since: s.Since, Until: s.Until, Error: s.Error, Help: s.Help,
		Breaker: operate.BreakerClosed, Fails: s.Fails, Class: string(s.Class), Wait: s.Wait.Seconds(),
	}
	switch {
	case s.Open && s.Wait > 0:
		status.Breaker = operate.BreakerOpen
	case s.Open:
		status.Breaker = operate.BreakerHalfOpen
	}
	if l := s.Limit; l != nil {
		status.RateLimit = &operate.RateLimit{Remaining: l.Remaining, Limit: l.Limit, Window: l.Window.Seconds(), Reset: l.Reset}
	}
	return status
}

// liveSites returns the sites of the newest configuration that runs on a store, which
// is at path unless that is empty.
func liveSites(path string) (*operate.Store, operate.Sites) {
	generations.RLock()
	defer generations.RUnlock()
	for _, g := range slices.Backward(generations.list) {
		if path != "" && g.cache.Path != path {
			continue
		}
		g.run.mu.Lock()
		services := slices.Clone(g.run.handlers)
		g.run.mu.Unlock()
		live := make(operate.Sites, 0, len(services))
		probed := map[string]bool{} // clients, which several sites may have
		for _, s := range services {
			site := siteOf(s.names, s.upstreams)
			site.Exiting, site.Endpoints = s.exiting, s.endpoints
			for i, u := range s.upstreams {
				if key := u.Fingerprint(); !u.Offline && !probed[key] {
					probed[key], site.Upstreams[i].Probe = true, s.prober(u.Name, key)
				}
			}
			site.Enter = func(*mirror.Cache) (image.Puller, func(), error) {
				m, err := s.enterAdmin()
				return m, s.leave, err
			}
			live = append(live, site)
		}
		return &g.cache.Store, live
	}
	return nil, nil
}

// siteOf returns the site that has upstreams by their names and aliases.
func siteOf(names map[string]registry.Upstream, upstreams []*config.Upstream) *operate.Site {
	site := &operate.Site{Names: make(map[string]string, len(names))}
	for alias, u := range names {
		site.Names[alias] = u.Name
	}
	for _, u := range upstreams {
		known := &operate.Upstream{
			Name: u.Name, MaxSize: u.MaxSize, Isolated: u.MarkedInBundles(), Public: u.Everybody(), Offline: u.Offline,
			Admits:   func(user string) bool { return u.Access.Admits(user, u.Guarded()) },
			Settings: config.Settings(u), LookUp: u.LookUp,
		}
		if u.Provisioned() {
			known.Identity = u.Identity()
		}
		site.Upstreams = append(site.Upstreams, known)
	}
	return site
}
