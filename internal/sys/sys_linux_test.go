package sys

import (
	"testing"
	"testing/fstest"
)

const meminfo = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"

func files(m map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range m {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestMemory(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	tests := []struct {
		name  string
		files map[string]string
		want  Memory
	}{
		{"no control groups", map[string]string{"proc/meminfo": meminfo},
			Memory{Total: 16000000 * kib, Available: 8000000 * kib}},
		{"version 2 without a limit", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "5\n"},
			Memory{Total: 16000000 * kib, Available: 8000000 * kib}},
		{"version 2, the parent limits and its file pages can go", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "1073741824\n",
			"sys/fs/cgroup/a/memory.current": "943718400\n", "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 419430400\n"},
			Memory{Total: 16000000 * kib, Available: 524 * mib, Limit: 1024 * mib}},
		{"version 2 in a container whose path is not there", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/docker/123\n",
			"sys/fs/cgroup/memory.max": "2147483648\n", "sys/fs/cgroup/memory.current": "1048576\n"},
			Memory{Total: 16000000 * kib, Available: 2047 * mib, Limit: 2048 * mib}},
		{"version 1", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/x\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "536870912\n", "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "104857600\n",
			"sys/fs/cgroup/memory/x/memory.stat": "total_inactive_file 4194304\n"},
			Memory{Total: 16000000 * kib, Available: 416 * mib, Limit: 512 * mib}},
		{"version 1 without a limit", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n"},
			Memory{Total: 16000000 * kib, Available: 8000000 * kib}},
		{"a group that is over its limit", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "1048576\n", "sys/fs/cgroup/memory.current": "2097152\n"},
			Memory{Total: 16000000 * kib, Available: 0, Limit: 1 * mib}},
	}
	for _, test := range tests {
		got, err := readMemory(files(test.files))
		if err != nil || got != test.want {
			t.Errorf("%s: got %+v, %v; want %+v", test.name, got, err, test.want)
		}
	}
	if _, err := readMemory(files(map[string]string{"proc/meminfo": "nothing\n"})); err == nil {
		t.Error("a meminfo without MemTotal: no error")
	}
}

func TestThreads(t *testing.T) {
	topology := func(siblings ...string) map[string]string {
		m := map[string]string{}
		for i, s := range siblings {
			m["sys/devices/system/cpu/cpu"+string(rune('0'+i))+"/topology/thread_siblings_list"] = s + "\n"
		}
		return m
	}
	with := func(m map[string]string, more ...string) map[string]string {
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	const status = "proc/self/status"
	tests := []struct {
		name    string
		files   map[string]string
		logical int
		want    CPU
		threads int
	}{
		{"nothing known", nil, 3, CPU{Logical: 3, Physical: 3}, 3},
		{"two cores with two threads each", with(topology("0-1", "0-1", "2-3", "2-3"), status, "Cpus_allowed_list:\t0-3\n"), 4,
			CPU{Logical: 4, Physical: 2}, 2},
		{"pinned to both threads of one core", with(topology("0-1", "0-1", "2-3", "2-3"), status, "Cpus_allowed_list:\t2,3\n"), 2,
			CPU{Logical: 2, Physical: 1}, 1},
		{"quota of one and a half, version 2", with(topology("0", "1", "2", "3"), status, "Cpus_allowed_list:\t0-3\n",
			"proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/a/cpu.max", "150000 100000\n"), 4,
			CPU{Logical: 4, Physical: 4, Quota: 1.5}, 2},
		{"no quota, version 2", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 4,
			CPU{Logical: 4, Physical: 4}, 4},
		{"quota of half a CPU, version 1", map[string]string{"proc/self/cgroup": "3:cpu,cpuacct:/x\n",
			"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "50000\n", "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"}, 4,
			CPU{Logical: 4, Physical: 4, Quota: 0.5}, 1},
		{"no quota, version 1", map[string]string{"proc/self/cgroup": "3:cpu:/\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 4,
			CPU{Logical: 4, Physical: 4}, 4},
	}
	for _, test := range tests {
		got := readCPU(files(test.files), test.logical)
		if got != test.want || got.Threads() != test.threads {
			t.Errorf("%s: got %+v with %d threads, want %+v with %d", test.name, got, got.Threads(), test.want, test.threads)
		}
	}
}

func TestThisMachine(t *testing.T) {
	m, err := ReadMemory()
	if err != nil || m.Total <= 0 || m.Available <= 0 || m.Available > m.Total {
		t.Errorf("memory: %+v, %v", m, err)
	}
	if c := ReadCPU(); c.Logical < 1 || c.Physical < 1 || c.Physical > c.Logical || c.Threads() < 1 {
		t.Errorf("cpu: %+v", c)
	}
	before, err := ReadUsage()
	if err != nil || before.Resident <= 0 || before.Peak < before.Resident {
		t.Errorf("usage: %+v, %v", before, err)
	}
	block := make([]byte, 64<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	after, err := ReadUsage()
	if err != nil || after.Peak < before.Resident+(48<<20) {
		t.Errorf("after touching %d MB: %+v, %v; before: %+v", len(block)>>20, after, err, before)
	}
}
