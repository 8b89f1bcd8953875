package listener

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// stateListen is the state of sockets that listen, in the kernel's tables.
const stateListen = "0A"

// At returns which other process listens at an address, nil if none does.
// known is false where the kernel's tables cannot be read.
func At(at netip.AddrPort) (other *Owner, known bool) {
	mine := map[string]bool{}
	for _, link := range socketsOf("self") {
		mine[link] = true
	}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		file, err := os.Open(table)
		if err != nil {
			continue
		}
		known = true
		for lines := bufio.NewScanner(file); other == nil && lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || fields[3] != stateListen {
				continue
			}
			local, ok := parseAddress(fields[1])
			link := "socket:[" + fields[9] + "]"
			if ok && overlap(local, at) && !mine[link] {
				other = &Owner{uid: fields[7]}
				other.find(link)
			}
		}
		_ = file.Close()
		if other != nil {
			break
		}
	}
	return other, known
}

// parseAddress parses an address of the kernel's tables: words in the order of the
// machine, and the port.
func parseAddress(text string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	number, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), ok && err == nil
}

// overlap reports whether a connection to one may reach the other.
func overlap(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() {
		return false
	}
	x, y := a.Addr().Unmap(), b.Addr().Unmap().WithZone("")
	switch {
	case x == y:
		return true
	case x == netip.IPv6Unspecified(), y == netip.IPv6Unspecified():
		return true
	}
	return x.Is4() == y.Is4() && (x.IsUnspecified() || y.IsUnspecified())
}

// find finds the process that has a socket, if this one may know.
func (o *Owner) find(link string) {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		process := filepath.Base(dir)
		for _, of := range socketsOf(process) {
			if of != link {
				continue
			}
			o.pid, _ = strconv.Atoi(process)
			name, _ := os.ReadFile(filepath.Join(dir, "comm"))
			o.name = strings.TrimSpace(string(name))
			return
		}
	}
}

// socketsOf returns the sockets of a process, as its links name them.
func socketsOf(process string) (links []string) {
	dir := filepath.Join("/proc", process, "fd")
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if link, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil && strings.HasPrefix(link, "socket:") {
			links = append(links, link)
		}
	}
	return links
}
