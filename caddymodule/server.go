package caddymodule

import (
	"cmp"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pullgate/pullgate/internal/operate"
)

// started is when the process began, nearly.
var started = time.Now()

// modulePath is that of this module.
const modulePath = "github.com/pullgate/pullgate"

// version returns that of this module, which is the main one or a plugin of Caddy.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	modules := append([]*debug.Module{&info.Main}, info.Deps...)
	at := slices.IndexFunc(modules, func(m *debug.Module) bool { return m.Path == modulePath })
	if at < 0 {
		return "unknown"
	}
	module := modules[at]
	if module.Replace != nil {
		module = module.Replace
	}
	return strings.Trim(cmp.Or(module.Version, "(devel)"), "()")
}

// server returns what serves: the newest configuration.
func server() operate.Server {
	host, _ := os.Hostname() // without one, it is not told
	s := operate.Server{Version: version(), Host: host, Started: started, Listen: []string{}}
	generations.RLock()
	defer generations.RUnlock()
	if n := len(generations.list); n > 0 {
		s.Listen = generations.list[n-1].run.addresses()
	}
	return s
}

// addresses returns where the handlers of the configuration are served.
func (r *appRun) addresses() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []string{}
	for _, s := range r.handlers {
		if s.server == nil {
			continue
		}
		for _, address := range s.server.Listen {
			if !slices.Contains(all, address) {
				all = append(all, address)
			}
		}
	}
	return all
}

// tellStart logs what is served now, and what comes next.
func (r *appRun) tellStart() {
	r.mu.Lock()
	var upstreams []string
	for _, s := range r.handlers {
		for _, u := range s.upstreams {
			if !slices.Contains(upstreams, u.Name) {
				upstreams = append(upstreams, u.Name)
			}
		}
	}
	r.mu.Unlock()
	if len(upstreams) == 0 {
		return
	}
	limit := "none but the disk"
	if r.limits.MaxSize > 0 {
		limit = humanize.IBytes(uint64(r.limits.MaxSize))
	}
	slog.New(r.log).Info("serving", "version", version(), "storage", r.path, "max_size", limit, "upstreams", upstreams,
		"listen", r.addresses(), "next", "pullgate mirror client-config containerd --endpoint <URL of this gateway>")
}
