package caddymodule

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/listener"
)

// TestPortForOneOfTwo starts two gateways for one port at the very same moment: neither
// listens before the other has looked. One serves, and the other names it and ends.
func TestPortForOneOfTwo(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	port := netip.MustParseAddrPort(addr).Port()
	release := listener.TakeTurns(t.Context(), []uint16{port})
	defer release()
	dir := t.TempDir()
	env := []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
	start := func(name, listen string) *process {
		return startProcess(t, env, "mirror", "serve", "--storage", dir+"/"+name, "--listen", listen, "docker.io")
	}
	a, b := start("a", addr), start("b", fmt.Sprint(":", port))
	turn := fmt.Sprintf("@pullgate-listen-%d\n", port)
	for deadline := time.Now().Add(processTime); ; time.Sleep(time.Millisecond) { // other processes have no event for us
		sockets, err := os.ReadFile("/proc/net/unix")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(sockets), turn) == 3 { // ours, and one of each who waits for it
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("they do not wait for each other")
		}
	}
	release()
	serves, ends := a, b
	select {
	case <-a.ended:
		serves, ends = b, a
	case <-b.ended:
	case <-time.After(processTime):
		t.Fatal("both serve")
	}
	named := fmt.Sprintf("process %d (pullgate) listens there already", serves.cmd.Process.Pid)
	if code := ends.wait(); code == 0 || !strings.Contains(ends.log.String(), named) {
		t.Errorf("exit code %d, and it does not say that %s: %s", code, named, ends.log.String())
	}
	serves.await("http://" + addr + "/v2/")
}
