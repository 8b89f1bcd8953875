package pulls

import (
	"fmt"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/registry"
)

// The newest pulls come first, whether they failed or not, and tables by their bytes; who
// was not seen for the longest makes room.
func TestHistory(t *testing.T) {
	h := newHistory()
	at := time.Unix(1_800_000_000, 0)
	for n := range 2 * maxRows {
		at = at.Add(time.Second)
		client := fmt.Sprint("10.0.0.", n)
		h.request(&registry.Answer{
			Request: oci.Request{Client: "talos@" + client, User: "talos"}, Bytes: int64(n), Status: 200 + 200*(n%2) + n%2,
		}, at)
		result := operate.PullOK
		if n%2 == 1 {
			result = operate.PullFailed
		}
		h.add(operate.Pull{
			PullSubject: operate.PullSubject{Image: fmt.Sprint("docker.io/a/b:", n/4), Client: client, User: "talos"},
			Result:      result, Ended: at, PullBytes: operate.PullBytes{Bytes: int64(n)},
		})
	}
	r := h.report(operate.PullsRequest{})
	if len(r.Recent) != maxRecent+maxFailed || !r.Recent[0].Ended.Equal(at) || r.Recent[0].Result != operate.PullFailed || r.Recent[1].Result != operate.PullOK {
		t.Errorf("%d pulls, the first of which are %+v", len(r.Recent), r.Recent[:2])
	}
	if len(r.Clients) != maxRows || r.Clients[0] != (operate.PullClient{
		Client: fmt.Sprint("10.0.0.", 2*maxRows-1), User: "talos", Pulls: 1, Requests: 1, Errors: 1, Bytes: 2*maxRows - 1, LastSeen: at,
	}) || r.Clients[maxRows-1].Bytes != maxRows {
		t.Errorf("%d clients, the first of which is %+v", len(r.Clients), r.Clients[0])
	}
	if i := r.Images[0]; len(r.Images) != 2*maxRows/4 || i.Pulls != 4 || i.Errors != 2 || i.Bytes != 4*(2*maxRows)-10 {
		t.Errorf("%d images, the first of which is %+v", len(r.Images), i)
	}
	if r := h.report(operate.PullsRequest{Image: "b:1"}); len(r.Images) != 1+10+28 {
		t.Errorf("%d images are selected", len(r.Images))
	}
}
