package operate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/nearest"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// Upstream is an upstream of a site.
type Upstream struct {
	Name string
	// Identity is what the store keeps its images under; empty = not looked up yet.
	Identity string
	// LookUp finds the identity out, for which secrets and files are read.
	LookUp func() (string, error)
	// MaxSize is how many bytes it may have brought in; 0 = no limit.
	MaxSize int64
	// Offline says that it is never asked. Probe asks its URLs whether they answer; nil = it
	// is not asked, or for another site already.
	Offline bool
	Probe   func(context.Context) ([]Reach, error)
	// Isolated says that what it answers need not be for everybody, and Public that
	// everybody may pull it here.
	Isolated, Public bool
	// Admits reports whether a user may pull from it here; empty = nobody is logged in.
	Admits func(user string) bool
	// Settings are the options in force.
	Settings []Setting
}

// Setting is an option of an upstream, as in a Caddyfile. None holds a secret.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Default says that nobody has set it.
	Default bool `json:"default,omitempty"`
}

// identity returns the identity, also if it is not looked up yet.
func (u *Upstream) identity() (string, error) {
	if u.Identity != "" {
		return u.Identity, nil
	}
	return u.LookUp()
}

// Site is one handler of a configuration: which upstreams it has, by what names, and
// how to pull from them.
type Site struct {
	// Names are those of upstreams, by name and alias.
	Names     map[string]string
	Upstreams []*Upstream
	// Enter returns what pulls from the upstreams whose identities are looked up, for
	// as long as the caller stays; with no error, it has to leave.
	Enter func(*mirror.Cache) (p image.Puller, leave func(), err error)
	// Endpoints returns where it is served.
	Endpoints func() []Endpoint
	// Exiting is closed when the process exits; nil = never.
	Exiting <-chan struct{}
}

// upstream returns the upstream of a name or alias; nil = there is none.
func (s *Site) upstream(alias string) *Upstream {
	name, ok := s.Names[alias]
	if !ok {
		return nil
	}
	return s.Upstreams[slices.IndexFunc(s.Upstreams, func(u *Upstream) bool { return u.Name == name })]
}

// Sites are those of one configuration.
type Sites []*Site

var errExits = errors.New("the server exits: do it again when it runs, and it goes on where it ended")

// untilExit returns a context that ends when the process exits, too, with errExits.
func (l Sites) untilExit(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	for _, s := range l {
		go func() {
			select {
			case <-s.Exiting:
				cancel(errExits)
			case <-ctx.Done():
			}
		}()
	}
	return ctx, cancel
}

// Limit adds the limits of the upstreams to those of a store.
func (l Sites) Limit(limits *storage.Limits) {
	for _, s := range l {
		for _, u := range s.Upstreams {
			if u.MaxSize > 0 {
				if limits.Upstreams == nil {
					limits.Upstreams = map[string]int64{}
				}
				limits.Upstreams[u.Name] = u.MaxSize
			}
		}
	}
}

// LookUp finds the identities of the upstreams of images out.
func (l Sites) LookUp(images []imagelist.Image) (err error) {
	for _, i := range images {
		for _, p := range l.find(i) {
			if p.upstream.Identity, err = p.upstream.identity(); err != nil {
				return err
			}
		}
	}
	return nil
}

// place is where an image lies.
type place struct {
	site       *Site
	upstream   *Upstream
	repository string
}

func (p place) scope() oci.Scope {
	return oci.Scope{Upstream: p.upstream.Identity, Repository: p.repository}
}

// find returns the places of an image at all sites that mirror it.
func (l Sites) find(i imagelist.Image) (places []place) {
	for _, s := range l {
		if u := s.upstream(i.Upstream); u != nil {
			places = append(places, place{s, u, oci.CanonicalRepository(u.Name, i.Repository)})
		}
	}
	return places
}

// places is find with each identity once; all are looked up. Without any, it returns
// the reason why nobody pulls the image.
func (l Sites) places(i imagelist.Image) (places []place, unknown string) {
	seen := map[oci.Scope]bool{}
	for _, p := range l.find(i) {
		if scope := p.scope(); !seen[scope] {
			seen[scope] = true
			places = append(places, p)
		}
	}
	if len(places) == 0 {
		var names []string
		for _, s := range l {
			names = slices.AppendSeq(names, maps.Keys(s.Names))
		}
		unknown = fmt.Sprintf("no site mirrors %s%s: add it to the configuration", i.Upstream, nearest.Hint(i.Upstream, names))
	}
	return places, unknown
}

// enter enters all sites. Whoever gets no error has to leave.
func (l Sites) enter(c *mirror.Cache) (pullers map[*Site]image.Puller, leave func(), err error) {
	pullers = make(map[*Site]image.Puller, len(l))
	var leaves []func()
	leave = func() {
		for _, leave := range leaves {
			leave()
		}
	}
	for _, s := range l {
		puller, out, err := s.Enter(c)
		if err != nil {
			leave()
			return nil, nil, err
		}
		pullers[s], leaves = puller, append(leaves, out)
	}
	return pullers, leave, nil
}
