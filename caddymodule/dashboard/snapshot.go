package dashboard

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/pullgate/pullgate/internal/operate"
)

// snapshot is how the gateway fares at one moment, for everybody.
type snapshot struct {
	status   operate.Status
	sites    operate.Sites
	problems []operate.Problem
	pulls    operate.Pulls
}

// takeSnapshot looks at the gateway.
func takeSnapshot(ctx context.Context, g *operate.Local) (*snapshot, error) {
	status, err := g.Status(ctx, "")
	if err != nil {
		return nil, err
	}
	pulls, err := g.Pulls(ctx, operate.PullsRequest{})
	if err != nil {
		return nil, err
	}
	_, sites := g.Sites("")
	return &snapshot{status: status, sites: sites, problems: operate.Problems(status), pulls: pulls}, nil
}

// view is what one user sees of a snapshot.
type view struct {
	Version   string                `json:"version"`
	Host      string                `json:"host,omitempty"`
	Started   time.Time             `json:"started"`
	Endpoints []endpointView        `json:"endpoints"`
	Storage   []operate.StoreStatus `json:"storage"`
	Upstreams []upstreamView        `json:"upstreams"`
	Problems  []operate.Problem     `json:"problems"`
	Pulls     operate.Pulls         `json:"pulls"`
	// Hidden says that there are upstreams that he may not pull from.
	Hidden bool `json:"hidden,omitempty"`
}

// endpointView is a URL by which clients reach a site.
type endpointView struct {
	URL string `json:"url"`
	// AnyHost says that every name of the machine will do.
	AnyHost bool `json:"any_host,omitempty"`
}

// endpoints returns where an audience reaches upstreams that it may pull from.
func endpoints(sites operate.Sites, a *audience) []endpointView {
	all := []endpointView{}
	for _, site := range sites {
		if site.Endpoints == nil || !slices.ContainsFunc(site.Upstreams, func(u *operate.Upstream) bool { return a.sees(u.Name) }) {
			continue
		}
		for _, e := range site.Endpoints() {
			host, _, err := net.SplitHostPort(e.Address)
			listens, _ := netip.ParseAddr(host)
			u, malformed := url.Parse(e.URL)
			if err != nil || malformed != nil {
				continue // it is a socket
			}
			view := endpointView{e.URL, (host == "" || listens.IsUnspecified()) && u.Hostname() == "127.0.0.1"}
			if !slices.Contains(all, view) {
				all = append(all, view)
			}
		}
	}
	return all
}

// upstreamView is what is known of one upstream.
type upstreamView struct {
	Name    string                   `json:"name"`
	URLs    []operate.UpstreamStatus `json:"urls,omitempty"`
	Traffic operate.Traffic          `json:"traffic"`
	Stored  int64                    `json:"stored_bytes"`
}

// freeStep is by how much the free space of a disk has to change to be told.
const freeStep = 256 << 20

// view returns what an audience sees.
func (s *snapshot) view(a *audience) *view {
	v := &view{Storage: []operate.StoreStatus{}, Upstreams: []upstreamView{}, Problems: []operate.Problem{}, Hidden: !a.all}
	if server := s.status.Server; server != nil {
		v.Version, v.Started = server.Version, server.Started
		if a.all {
			v.Host = server.Host
		}
	}
	upstreams := map[string]*upstreamView{}
	for name, admitted := range a.admitted {
		if admitted {
			upstreams[name] = &upstreamView{Name: name}
		}
	}
	for _, c := range s.status.Storage {
		stored := map[string]int64{}
		for name, bytes := range c.Upstreams {
			if name == "" || upstreams[name] != nil || a.operator {
				stored[name] = bytes
			}
			if u := upstreams[name]; u != nil {
				u.Stored += bytes
			}
		}
		// Others write to the disk all the time, which is no news.
		c.FreeBytes, c.FreeInodes = c.FreeBytes-c.FreeBytes%freeStep, 0
		c.Upstreams = stored
		seenBy(a, &c)
		v.Storage = append(v.Storage, c)
	}
	for _, url := range s.status.Upstreams {
		if u := upstreams[url.Name]; u != nil {
			u.URLs = append(u.URLs, url)
		}
	}
	for _, t := range s.status.Traffic {
		if u := upstreams[t.Name]; u != nil {
			u.Traffic = t
		}
	}
	for _, name := range slices.Sorted(maps.Keys(upstreams)) {
		v.Upstreams = append(v.Upstreams, *upstreams[name])
	}
	for _, p := range s.problems {
		if (p.What != operate.ProblemUpstream || a.sees(p.Name)) && (p.What != operate.ProblemFleet || a.all) {
			v.Problems = append(v.Problems, p)
		}
	}
	v.Endpoints, v.Pulls = endpoints(s.sites, a), pullsFor(s.pulls, a)
	return v
}

// maxPulls is how many pulls of each kind stand in a snapshot, and maxClients how many
// clients.
const (
	maxPulls   = 40
	maxClients = 100
)

// pullsFor returns the pulls that an audience sees. Who pulls from several upstreams is
// counted for all of them, so clients are told only to those who see all.
func pullsFor(all operate.Pulls, a *audience) operate.Pulls {
	visible := func(pulls []operate.Pull) []operate.Pull {
		some := []operate.Pull{}
		for _, p := range pulls {
			if a.sees(p.Upstream) && len(some) < maxPulls {
				some = append(some, p)
			}
		}
		return some
	}
	pulls := operate.Pulls{Running: visible(all.Running), Recent: visible(all.Recent), Clients: []operate.PullClient{}, Images: []operate.PullImage{}}
	if a.all {
		pulls.Clients = append(pulls.Clients, all.Clients[:min(len(all.Clients), maxClients)]...)
	}
	return pulls
}

// encode returns the view as JSON, on one line.
func (v *view) encode() []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		return []byte("{}") // there is nothing in it that cannot be written
	}
	return raw
}
