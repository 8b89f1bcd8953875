//go:build fleet

package fleet

import (
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// soakFault has something be away for a while.
type soakFault struct {
	name string
	do   func(lasts time.Duration)
}

// allFaults returns all that can be away.
func (k *soak) allFaults(random *rand.Rand) []soakFault {
	ofMember := func(do func(m *soakMember, lasts time.Duration)) func(time.Duration) {
		return func(lasts time.Duration) {
			m := k.some(random)
			m.away(func() { do(m, lasts) })
		}
	}
	return []soakFault{
		{"gateway killed", ofMember(func(m *soakMember, lasts time.Duration) {
			_ = m.process.Kill()
			await(k.t, "its end", func() bool { return !m.alive() })
			time.Sleep(lasts)
			m.launch()
		})},
		{"upstream refuses", func(lasts time.Duration) {
			k.from.Refuse()
			time.Sleep(lasts)
			if err := k.from.Accept(); err != nil {
				k.t.Fatal(err)
			}
		}},
		{"gateway paused", ofMember(func(m *soakMember, lasts time.Duration) {
			pause(m.process, lasts)
			m.get(k.hot[0].Repository, "/manifests/"+k.hot[0].Tag)
		})},
		{"bucket refuses", func(lasts time.Duration) {
			k.shared.stop()
			time.Sleep(lasts)
			k.shared.run()
		}},
		{"gateway started again", ofMember(func(m *soakMember, _ time.Duration) {
			m.stop()
			m.launch()
		})},
		{"bucket hangs", func(lasts time.Duration) { pause(k.shared.process, lasts) }},
		{"upstream hangs", func(lasts time.Duration) {
			release := make(chan struct{})
			k.from.Hook(registrytest.Hang(release))
			time.Sleep(lasts)
			k.from.Hook(nil)
			close(release)
		}},
	}
}

func pause(p *os.Process, lasts time.Duration) {
	_ = p.Signal(syscall.SIGSTOP)
	time.Sleep(lasts)
	_ = p.Signal(syscall.SIGCONT)
}
