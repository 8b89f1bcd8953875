package dashboard

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/internal/clientconfig"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
)

// setup is how a client is made to pull through this gateway.
type setup struct {
	Clients   []setupClient `json:"clients"`
	Files     []setupFile   `json:"files"`
	Steps     []string      `json:"steps"`
	Directory string        `json:"directory,omitempty"`
	// Command prints the same files.
	Command string `json:"command"`
}

type setupClient struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
}

type setupFile struct {
	Path    string `json:"path"`
	Content string `json:"content"`
}

// passwordPlace stands in files where the password belongs, which no page asks for.
const passwordPlace = "PASSWORD"

// showSetup returns the files of a client for an endpoint and the upstreams that who asks
// may pull from.
func (d *run) showSetup(q *query) (any, error) {
	s := setup{Files: []setupFile{}, Steps: []string{}}
	for _, c := range clientconfig.Clients() {
		s.Clients = append(s.Clients, setupClient{c.Name, c.Summary})
	}
	name := q.Get("client")
	if name == "" {
		return s, nil
	}
	client, ok := clientconfig.Find(name)
	if !ok {
		return nil, refuse(http.StatusBadRequest, "there is no client "+name)
	}
	endpoint, err := url.Parse(q.Get("endpoint"))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the address is no URL: want such as http://gate.lan:5000")
	}
	o := clientconfig.Options{Endpoint: endpoint, SkipFallback: q.Get("skip_fallback") == "1"}
	_, sites := d.gateway.Sites("")
	o.Upstreams, o.Names = upstreamsFor(sites, q.audience)
	if user := q.Get("user"); user != "" {
		o.Username, o.Password = user, passwordPlace
	}
	files, err := client.Files(o)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, err.Error())
	}
	for _, f := range files {
		s.Files = append(s.Files, setupFile{f.Path, string(f.Content)})
	}
	s.Steps, s.Directory = append(s.Steps, client.Steps(o)...), client.Directory
	s.Command = "pullgate mirror client-config " + name + " --endpoint " + endpoint.String()
	if o.Username != "" {
		s.Command += " --user " + o.Username + " --password-file FILE"
	}
	if o.SkipFallback {
		s.Command += " --skip-fallback"
	}
	for _, upstream := range o.Upstreams {
		s.Command += " " + upstream
		if at := o.Names[upstream]; at != "" {
			s.Command += "=" + at
		}
	}
	return s, nil
}

// upstreamsFor returns the registries, as images name them, that an audience may pull
// from, and what the gateway calls those that a colon in a path would break.
func upstreamsFor(sites operate.Sites, a *audience) (upstreams []string, names map[string]string) {
	names = map[string]string{}
	for _, site := range sites {
		for alias, name := range site.Names {
			hub := oci.CanonicalUpstream(alias) != alias
			if !a.sees(name) || hub || !oci.IsRegistry(alias) || slices.Contains(upstreams, alias) {
				continue
			}
			upstreams = append(upstreams, alias)
			if strings.Contains(alias, ":") && !strings.Contains(name, ":") {
				names[alias] = name
			}
		}
	}
	slices.Sort(upstreams)
	return upstreams, names
}
