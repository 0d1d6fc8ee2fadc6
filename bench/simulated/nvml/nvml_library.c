/*
 * A small libnvidia-ml.so.1: it answers the calls that gpupack makes from a state file that a test or a benchmark
 * writes while the caller runs, so that the real pynvml binding can be driven on machines without a GPU.
 *
 * NVML_FAKE_DIR names a folder with the file "state" (struct state below, mapped and shared) and the pipe "xids", from
 * which the wait for events reads pairs of numbers: the GPU's index and the XID. Built with -DOLD_DRIVER it leaves out
 * the functions that older drivers do not have. Signatures and codes: https://docs.nvidia.com/deploy/nvml-api
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
       DRIVER_NOT_LOADED = 9, TIMEOUT = 10 };
enum { MAX_GPUS = 16, MAX_PROCESSES = 96, MAX_CALLS = 40 };
enum { COMPUTE = 1, GRAPHICS = 2, MPS = 4 };

/* The calls on a GPU that can be made to fail one by one. */
#define CALLS(X) X(HANDLE) X(UUID) X(NAME) X(MINOR) X(PCI) X(NUMA) X(MIG) X(MEMORY) X(MEMORY_V2) X(RATES) X(POWER) \
    X(TEMPERATURE) X(TEMPERATURE_V) X(ECC) X(ROWS) X(RETIRED) X(RETIRED_PENDING) X(FIELDS) X(COMPUTE_PROCESSES) \
    X(GRAPHICS_PROCESSES) X(MPS_PROCESSES) X(PROCESS_UTILIZATION) X(CAPABILITY) X(PCIE) X(NVLINK) X(EVENTS) \
    X(LIMITS)
#define AS_ENUM(name) CALL_##name,
#define AS_TEXT(name) #name " "
enum { CALLS(AS_ENUM) };
const char *nvml_fake_calls(void) { return CALLS(AS_TEXT); }

struct process { uint32_t pid, kinds; uint64_t used_bytes, sampled_us; uint32_t sm_percent, memory_percent; };

struct gpu {
    char uuid[96], name[96], bus_id[32], peer_bus_id[32];
    uint64_t total_bytes, reserved_bytes, used_bytes, corrected, uncorrected;
    int32_t minor_number, numa_node, mig, gpu_percent, memory_percent, temperature;
    uint32_t power_mw, rows[4], retired_pages, retired_pending, recovery_action;
    int32_t capability[2];
    uint32_t pcie_generation, pcie_lanes, nvlinks;
    int32_t lost, codes[MAX_CALLS];
    uint32_t process_count;
    struct process processes[MAX_PROCESSES];
};

struct state {
    int32_t init_code, count_code, wait_code;
    uint32_t gpu_count, sessions, registrations;
    uint64_t calls;
    char driver_version[80];
    struct gpu gpus[MAX_GPUS];
};

size_t nvml_fake_state_size(void) { return sizeof(struct state); }

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct state *state;
static int xids = -1;
static unsigned users;

static int opened(const char *name, int flags) {
    char path[4096];
    const char *folder = getenv("NVML_FAKE_DIR");
    if (folder == NULL || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return -1;
    return open(path, flags | O_CLOEXEC);
}

static int map_state(void) {
    int file = opened("state", O_RDWR);
    if (file < 0) return DRIVER_NOT_LOADED;
    /* An earlier mapping stays: handles point into it. */
    void *mapped = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) return DRIVER_NOT_LOADED;
    state = mapped;
    if (xids >= 0) close(xids);
    xids = opened("xids", O_RDWR | O_NONBLOCK);
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    int code = users == 0 ? map_state() : SUCCESS;
    if (code == SUCCESS && state->init_code != SUCCESS) code = state->init_code;
    if (code == SUCCESS) { users++; state->sessions = users; }
    pthread_mutex_unlock(&lock);
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    int code = users == 0 ? UNINITIALIZED : SUCCESS;
    if (users > 0) { users--; state->sessions = users; }
    pthread_mutex_unlock(&lock);
    return code;
}

const char *nvmlErrorString(int code) {
    switch (code) {
        case NOT_SUPPORTED: return "Not Supported";
        case DRIVER_NOT_LOADED: return "Driver Not Loaded";
        case 15: return "GPU is lost";
        default: return "Simulated error";
    }
}

static int asked(void) {
    if (users == 0) return UNINITIALIZED;
    __atomic_add_fetch(&state->calls, 1, __ATOMIC_RELAXED);
    return SUCCESS;
}

static int asked_of(const struct gpu *gpu, int call) {
    int code = asked();
    if (code != SUCCESS) return code;
    if (gpu == NULL) return INVALID_ARGUMENT;
    return gpu->lost != SUCCESS ? gpu->lost : gpu->codes[call];
}

#define ON(gpu, call) do { int code_ = asked_of(gpu, CALL_##call); if (code_ != SUCCESS) return code_; } while (0)

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    if (asked() != SUCCESS) return UNINITIALIZED;
    snprintf(version, length, "%s", state->driver_version);
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (asked() != SUCCESS) return UNINITIALIZED;
    *count = state->gpu_count;
    return state->count_code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **gpu) {
    if (asked() != SUCCESS) return UNINITIALIZED;
    if (index >= state->gpu_count) return INVALID_ARGUMENT;
    *gpu = &state->gpus[index];
    return asked_of(*gpu, CALL_HANDLE);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, struct gpu **gpu) {
    if (asked() != SUCCESS) return UNINITIALIZED;
    for (unsigned index = 0; index < state->gpu_count; index++)
        if (strcmp(state->gpus[index].uuid, uuid) == 0) {
            *gpu = &state->gpus[index];
            return asked_of(*gpu, CALL_HANDLE);
        }
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(struct gpu *gpu, char *uuid, unsigned length) {
    ON(gpu, UUID);
    snprintf(uuid, length, "%s", gpu->uuid);
    return SUCCESS;
}

int nvmlDeviceGetName(struct gpu *gpu, char *name, unsigned length) {
    ON(gpu, NAME);
    snprintf(name, length, "%s", gpu->name);
    return SUCCESS;
}

int nvmlDeviceGetMinorNumber(struct gpu *gpu, unsigned *minor) {
    ON(gpu, MINOR);
    *minor = (unsigned)gpu->minor_number;
    return SUCCESS;
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };

int nvmlDeviceGetPciInfo_v3(struct gpu *gpu, struct pci *pci) {
    ON(gpu, PCI);
    memset(pci, 0, sizeof *pci);
    memcpy(pci->bus_id, gpu->bus_id, sizeof pci->bus_id);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(struct gpu *gpu, unsigned *now, unsigned *pending) {
    ON(gpu, MIG);
    if (gpu->mig < 0) return NOT_SUPPORTED;
    *now = *pending = (unsigned)gpu->mig;
    return SUCCESS;
}

struct memory_v1 { uint64_t total, free, used; };
struct memory_v2 { uint32_t version; uint64_t total, reserved, free, used; };

/* The older form counts what is reserved as used. */
int nvmlDeviceGetMemoryInfo(struct gpu *gpu, struct memory_v1 *memory) {
    ON(gpu, MEMORY);
    memory->total = gpu->total_bytes;
    memory->used = gpu->used_bytes + gpu->reserved_bytes;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(struct gpu *gpu, unsigned percents[2]) {
    ON(gpu, RATES);
    percents[0] = (unsigned)gpu->gpu_percent;
    percents[1] = (unsigned)gpu->memory_percent;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(struct gpu *gpu, unsigned *milliwatts) {
    ON(gpu, POWER);
    *milliwatts = gpu->power_mw;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(struct gpu *gpu, int sensor, unsigned *celsius) {
    (void)sensor;
    ON(gpu, TEMPERATURE);
    *celsius = (unsigned)gpu->temperature;
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(struct gpu *gpu, int kind, int counter, uint64_t *count) {
    (void)counter;
    ON(gpu, ECC);
    *count = kind == 0 ? gpu->corrected : gpu->uncorrected;
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(struct gpu *gpu, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                              unsigned *failed) {
    ON(gpu, ROWS);
    *corrected = gpu->rows[0];
    *uncorrected = gpu->rows[1];
    *pending = gpu->rows[2];
    *failed = gpu->rows[3];
    return SUCCESS;
}

/* All pages are of the first cause. */
int nvmlDeviceGetRetiredPages(struct gpu *gpu, int cause, unsigned *count, uint64_t *pages) {
    ON(gpu, RETIRED);
    unsigned found = cause == 0 ? gpu->retired_pages : 0, room = *count;
    *count = found;
    if (found > room) return INSUFFICIENT_SIZE;
    if (pages != NULL) memset(pages, 0, found * sizeof *pages);
    return SUCCESS;
}

int nvmlDeviceGetRetiredPagesPendingStatus(struct gpu *gpu, unsigned *pending) {
    ON(gpu, RETIRED_PENDING);
    *pending = gpu->retired_pending;
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(struct gpu *gpu, int *major, int *minor) {
    ON(gpu, CAPABILITY);
    *major = gpu->capability[0];
    *minor = gpu->capability[1];
    return SUCCESS;
}

int nvmlDeviceGetMaxPcieLinkGeneration(struct gpu *gpu, unsigned *generation) {
    ON(gpu, PCIE);
    *generation = gpu->pcie_generation;
    return SUCCESS;
}

int nvmlDeviceGetMaxPcieLinkWidth(struct gpu *gpu, unsigned *lanes) {
    ON(gpu, PCIE);
    *lanes = gpu->pcie_lanes;
    return SUCCESS;
}

int nvmlDeviceGetNvLinkState(struct gpu *gpu, unsigned link, unsigned *active) {
    ON(gpu, NVLINK);
    if (link >= gpu->nvlinks) return INVALID_ARGUMENT;
    *active = 1;
    return SUCCESS;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct gpu *gpu, unsigned link, struct pci *pci) {
    ON(gpu, NVLINK);
    if (link >= gpu->nvlinks) return INVALID_ARGUMENT;
    memset(pci, 0, sizeof *pci);
    memcpy(pci->bus_id, gpu->peer_bus_id, sizeof pci->bus_id);
    return SUCCESS;
}

struct process_info { uint32_t pid; uint64_t used_bytes; uint32_t gpu_instance, compute_instance; };

static int listed(const struct gpu *gpu, uint32_t kind, unsigned *count, struct process_info *infos) {
    unsigned room = *count, found = 0;
    for (unsigned place = 0; place < gpu->process_count && place < MAX_PROCESSES; place++) {
        const struct process *process = &gpu->processes[place];
        if ((process->kinds & kind) == 0) continue;
        if (infos != NULL && found < room)
            infos[found] = (struct process_info){process->pid, process->used_bytes, 0xffffffffu, 0xffffffffu};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

#define LISTS(name, kind, call) \
    int name(struct gpu *gpu, unsigned *count, struct process_info *infos) { \
        ON(gpu, call); \
        return listed(gpu, kind, count, infos); \
    }
LISTS(nvmlDeviceGetComputeRunningProcesses_v2, COMPUTE, COMPUTE_PROCESSES)
LISTS(nvmlDeviceGetGraphicsRunningProcesses_v2, GRAPHICS, GRAPHICS_PROCESSES)
LISTS(nvmlDeviceGetMPSComputeRunningProcesses_v2, MPS, MPS_PROCESSES)

struct utilization { uint32_t pid; uint64_t stamp_us; uint32_t sm, memory, encoder, decoder; };

int nvmlDeviceGetProcessUtilization(struct gpu *gpu, struct utilization *samples, unsigned *count, uint64_t since_us) {
    ON(gpu, PROCESS_UTILIZATION);
    unsigned room = *count, found = 0;
    for (unsigned place = 0; place < gpu->process_count && place < MAX_PROCESSES; place++) {
        const struct process *process = &gpu->processes[place];
        if (process->sampled_us <= since_us) continue;
        if (samples != NULL && found < room)
            samples[found] = (struct utilization){process->pid, process->sampled_us, process->sm_percent,
                                                  process->memory_percent, 0, 0};
        found++;
    }
    *count = found;
    if (found == 0) return NOT_FOUND;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

struct field { uint32_t id, scope; int64_t stamp, latency; uint32_t type, code; uint64_t value; };

int nvmlDeviceGetFieldValues(struct gpu *gpu, int count, struct field *fields) {
    ON(gpu, FIELDS);
    for (int place = 0; place < count; place++) {
        fields[place].code = fields[place].id == 230 ? SUCCESS : NOT_SUPPORTED;
        fields[place].value = gpu->recovery_action;
    }
    return SUCCESS;
}

struct event_set { uint32_t gpus; };
struct event { struct gpu *gpu; uint64_t type, data; uint32_t gpu_instance, compute_instance; };

int nvmlEventSetCreate(struct event_set **set) {
    if (asked() != SUCCESS) return UNINITIALIZED;
    *set = calloc(1, sizeof **set);
    return SUCCESS;
}

int nvmlEventSetFree(struct event_set *set) {
    free(set);
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(struct gpu *gpu, uint64_t types, struct event_set *set) {
    (void)types;
    ON(gpu, EVENTS);
    set->gpus |= 1u << (gpu - state->gpus);
    __atomic_add_fetch(&state->registrations, 1, __ATOMIC_RELAXED);
    return SUCCESS;
}

int nvmlEventSetWait_v2(struct event_set *set, struct event *event, unsigned timeout_ms) {
    if (asked() != SUCCESS) return UNINITIALIZED;
    if (state->wait_code != SUCCESS) return state->wait_code;
    struct pollfd poller = {.fd = xids, .events = POLLIN};
    if (poll(&poller, 1, (int)timeout_ms) <= 0) return TIMEOUT;
    uint32_t pair[2];
    if (read(xids, pair, sizeof pair) != sizeof pair) return TIMEOUT;
    int is_known = pair[0] < state->gpu_count;
    if (is_known && (set->gpus & (1u << pair[0])) == 0) return TIMEOUT;
    memset(event, 0, sizeof *event);
    event->gpu = is_known ? &state->gpus[pair[0]] : NULL;
    event->type = 8;
    event->data = pair[1];
    return SUCCESS;
}

#ifndef OLD_DRIVER
LISTS(nvmlDeviceGetComputeRunningProcesses_v3, COMPUTE, COMPUTE_PROCESSES)
LISTS(nvmlDeviceGetGraphicsRunningProcesses_v3, GRAPHICS, GRAPHICS_PROCESSES)
LISTS(nvmlDeviceGetMPSComputeRunningProcesses_v3, MPS, MPS_PROCESSES)

int nvmlDeviceGetMemoryInfo_v2(struct gpu *gpu, struct memory_v2 *memory) {
    ON(gpu, MEMORY_V2);
    memory->total = gpu->total_bytes;
    memory->reserved = gpu->reserved_bytes;
    memory->used = gpu->used_bytes;
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

struct temperature { uint32_t version, sensor; int32_t celsius; };

int nvmlDeviceGetTemperatureV(struct gpu *gpu, struct temperature *temperature) {
    ON(gpu, TEMPERATURE_V);
    temperature->celsius = gpu->temperature;
    return SUCCESS;
}

/* Memory limits of cgroups, which drivers have from r615 on; each process that loads this library has its own. */
enum { FUNCTION_NOT_FOUND = 13, MAX_LIMITS = 64, LIMITS_DRIVER = 615 };
struct set_limits { const char *name_space; unsigned long long soft, hard; };
struct get_limits { const char *name_space; unsigned long long soft, hard, used; };
static struct limit { char uuid[96], name_space[512]; unsigned long long soft, hard; } limits[MAX_LIMITS];

static struct limit *limit_of(struct gpu *gpu, const char *name_space) {
    for (int at = 0; at < MAX_LIMITS; at++) {
        if (limits[at].uuid[0] == 0) {
            memcpy(limits[at].uuid, gpu->uuid, sizeof limits[at].uuid);
            snprintf(limits[at].name_space, sizeof limits[at].name_space, "%s", name_space);
            limits[at].hard = ~0ULL;
        }
        if (strcmp(limits[at].uuid, gpu->uuid) == 0 && strcmp(limits[at].name_space, name_space) == 0) return &limits[at];
    }
    return NULL;
}

int nvmlDeviceSetMemoryLimits_v1(struct gpu *gpu, struct set_limits *wanted) {
    ON(gpu, LIMITS);
    if (atoi(state->driver_version) < LIMITS_DRIVER) return FUNCTION_NOT_FOUND;
    struct limit *limit = limit_of(gpu, wanted->name_space);
    if (limit == NULL) return INSUFFICIENT_SIZE;
    limit->soft = wanted->soft;
    limit->hard = wanted->hard;
    return SUCCESS;
}

int nvmlDeviceGetMemoryLimits_v1(struct gpu *gpu, struct get_limits *answer) {
    ON(gpu, LIMITS);
    if (atoi(state->driver_version) < LIMITS_DRIVER) return FUNCTION_NOT_FOUND;
    struct limit *limit = limit_of(gpu, answer->name_space);
    if (limit == NULL) return INSUFFICIENT_SIZE;
    answer->soft = limit->soft;
    answer->hard = limit->hard;
    answer->used = 0;
    return SUCCESS;
}

int nvmlDeviceGetNumaNodeId(struct gpu *gpu, unsigned *node) {
    ON(gpu, NUMA);
    if (gpu->numa_node < 0) return NOT_SUPPORTED;
    *node = (unsigned)gpu->numa_node;
    return SUCCESS;
}
#endif
