/*
 * A small libnvidia-ml.so.1: it answers the calls that gpupack makes from a state file that a test or a benchmark
 * writes while the caller runs, so that the real pynvml binding can be driven on machines without a GPU.
 *
 * NVML_FAKE_DIR names a folder with the file "state" (struct state below, mapped and shared) and the pipe "xids", from
 * which the wait for events reads four numbers: the GPU's place, the XID, and the IDs of GPU and compute instance. Any
 * call may be made to fail with any code, or not to return. Whatever the state says, no memory outside it is touched.
 * Built with -DOLD_DRIVER it lacks the functions that older drivers do not have, and names MIG devices as R450 did.
 * Signatures and codes: https://docs.nvidia.com/deploy/nvml-api
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
       INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15 };
enum { MAX_GPUS = 16, MAX_SLICES = 8, MAX_PROCESSES = 96, MAX_CALLS = 48, MAX_RETIRED_PAGES = 4096 };
enum { COMPUTE = 1, GRAPHICS = 2, MPS = 4 };

/* The calls on a GPU or a MIG device that can be made to fail, or not to return, one by one. */
#define CALLS(X) X(HANDLE) X(UUID) X(NAME) X(MINOR) X(PCI) X(NUMA) X(MIG) X(MEMORY) X(MEMORY_V2) X(RATES) X(POWER) \
    X(TEMPERATURE) X(TEMPERATURE_V) X(ECC) X(ROWS) X(RETIRED) X(RETIRED_PENDING) X(FIELDS) X(COMPUTE_PROCESSES) \
    X(GRAPHICS_PROCESSES) X(MPS_PROCESSES) X(PROCESS_UTILIZATION) X(CAPABILITY) X(PCIE) X(NVLINK) X(EVENTS) \
    X(LIMITS) X(MAX_SLICES) X(SLICE_HANDLE) X(IS_SLICE) X(GPU_INSTANCE) X(COMPUTE_INSTANCE) X(PARENT) X(ATTRIBUTES)
/* And those on the driver itself. */
#define SYSTEM_CALLS(X) X(INIT) X(SHUTDOWN) X(COUNT) X(VERSION) X(EVENT_SET) X(WAIT)
#define AS_ENUM(name) CALL_##name,
#define AS_SYSTEM_ENUM(name) SYSTEM_##name,
#define AS_TEXT(name) #name " "
enum { CALLS(AS_ENUM) KNOWN_CALLS };
enum { SYSTEM_CALLS(AS_SYSTEM_ENUM) KNOWN_SYSTEM_CALLS };
_Static_assert((int)KNOWN_CALLS <= (int)MAX_CALLS, "MAX_CALLS is too small");
const char *nvml_fake_calls(void) { return CALLS(AS_TEXT); }
const char *nvml_fake_system_calls(void) { return SYSTEM_CALLS(AS_TEXT); }

struct process {
    uint32_t pid, kinds;
    uint64_t used_bytes, sampled_us;
    uint32_t sm_percent, memory_percent, gpu_instance, compute_instance;
};

/* A MIG device: one compute instance of a GPU instance. */
struct slice {
    int32_t present, lost, codes[MAX_CALLS], hangs[MAX_CALLS];
    char uuid[96], name[96];
    uint64_t total_bytes, reserved_bytes, used_bytes;
    uint32_t gpu_instance, compute_instance, gpu_slices, compute_slices, multiprocessors;
};

struct gpu {
    char uuid[96], name[96], bus_id[32], peer_bus_id[32];
    uint64_t total_bytes, reserved_bytes, used_bytes, corrected, uncorrected;
    int32_t minor_number, numa_node, mig, mig_pending, gpu_percent, memory_percent, temperature;
    uint32_t power_mw, rows[4], retired_pages, retired_pending, recovery_action;
    int32_t capability[2];
    uint32_t pcie_generation, pcie_lanes, nvlinks, max_slices;
    int32_t lost, codes[MAX_CALLS], hangs[MAX_CALLS];
    /* Processes that started NVML at this count of `starts` or before do not see that the GPU was reset since. */
    uint32_t reset_at;
    struct slice slices[MAX_SLICES];
    uint32_t process_count;
    struct process processes[MAX_PROCESSES];
};

struct state {
    int32_t codes[KNOWN_SYSTEM_CALLS], hangs[KNOWN_SYSTEM_CALLS];
    /* Without `monitor` a GPU in MIG mode says nothing of all its MIG devices together. */
    int32_t monitor;
    uint32_t gpu_count, sessions, starts, registrations, hanging;
    /* Places of the GPUs below in NVML's order. */
    uint32_t order[MAX_GPUS];
    uint64_t calls;
    char driver_version[80];
    struct gpu gpus[MAX_GPUS];
};

size_t nvml_fake_state_size(void) { return sizeof(struct state); }

/* What a handle points to; it stays the same device when the order of the GPUs changes. */
struct device { uint32_t place; int32_t slot; };
enum { WHOLE_GPU = -1 };
static struct device devices[MAX_GPUS][1 + MAX_SLICES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct state *state;
static struct stat mapped_file;
static int xids = -1;
static unsigned users, started;

static int opened(const char *name, int flags) {
    char path[4096];
    const char *folder = getenv("NVML_FAKE_DIR");
    if (folder == NULL || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return -1;
    return open(path, flags | O_CLOEXEC);
}

static int map_state(void) {
    int file = opened("state", O_RDWR);
    struct stat found;
    if (file < 0) return DRIVER_NOT_LOADED;
    if (fstat(file, &found) != 0 || (uint64_t)found.st_size < sizeof(struct state)) {
        close(file);
        return DRIVER_NOT_LOADED;
    }
    if (state == NULL || found.st_ino != mapped_file.st_ino || found.st_dev != mapped_file.st_dev) {
        /* An earlier mapping stays: a call that has not returned may be using it. */
        void *mapped = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (mapped == MAP_FAILED) {
            close(file);
            return DRIVER_NOT_LOADED;
        }
        state = mapped;
        mapped_file = found;
    }
    close(file);
    for (uint32_t place = 0; place < MAX_GPUS; place++)
        for (int slot = WHOLE_GPU; slot < MAX_SLICES; slot++) devices[place][slot + 1] = (struct device){place, slot};
    if (xids >= 0) close(xids);
    xids = opened("xids", O_RDWR | O_NONBLOCK);
    return SUCCESS;
}

/* Return at once, or when the driver is told to go on. */
static void wait_while(const int32_t *hangs) {
    const struct timespec moment = {.tv_nsec = 2000000};
    struct state *of = state;
    if (!__atomic_load_n(hangs, __ATOMIC_RELAXED)) return;
    __atomic_add_fetch(&of->hanging, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(hangs, __ATOMIC_RELAXED)) nanosleep(&moment, NULL);
    __atomic_sub_fetch(&of->hanging, 1, __ATOMIC_RELAXED);
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    int code = users == 0 ? map_state() : SUCCESS;
    pthread_mutex_unlock(&lock);
    if (code != SUCCESS) return code;
    wait_while(&state->hangs[SYSTEM_INIT]);
    pthread_mutex_lock(&lock);
    code = state->codes[SYSTEM_INIT];
    if (code == SUCCESS) {
        if (users == 0) started = ++state->starts;
        state->sessions = ++users;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    if (users == 0) return UNINITIALIZED;
    wait_while(&state->hangs[SYSTEM_SHUTDOWN]);
    pthread_mutex_lock(&lock);
    int code = users == 0 ? UNINITIALIZED : state->codes[SYSTEM_SHUTDOWN];
    if (users > 0) state->sessions = --users;
    pthread_mutex_unlock(&lock);
    return code;
}

const char *nvmlErrorString(int code) {
    switch (code) {
        case NOT_SUPPORTED: return "Not Supported";
        case NO_PERMISSION: return "Insufficient Permissions";
        case NOT_FOUND: return "Not Found";
        case DRIVER_NOT_LOADED: return "Driver Not Loaded";
        case TIMEOUT: return "Timeout";
        case GPU_IS_LOST: return "GPU is lost";
        default: return "Simulated error";
    }
}

/* Texts of the state may lack their end. */
static int written(char *text, unsigned length, const char *field, size_t size) {
    size_t used = strnlen(field, size);
    if (text == NULL) return INVALID_ARGUMENT;
    if (used >= length) return INSUFFICIENT_SIZE;
    memcpy(text, field, used);
    text[used] = 0;
    return SUCCESS;
}

static int asked(void) {
    if (users == 0) return UNINITIALIZED;
    __atomic_add_fetch(&state->calls, 1, __ATOMIC_RELAXED);
    return SUCCESS;
}

static int asked_system(int call) {
    int code = asked();
    if (code != SUCCESS) return code;
    wait_while(&state->hangs[call]);
    return state->codes[call];
}

static int is_handle(const struct device *device) {
    uintptr_t at = (uintptr_t)device, first = (uintptr_t)devices;
    return at >= first && at < first + sizeof devices && (at - first) % sizeof *device == 0;
}

static int asked_of(const struct device *device, int call, struct gpu **gpu, struct slice **slice) {
    int code = asked();
    if (code != SUCCESS) return code;
    if (!is_handle(device)) return INVALID_ARGUMENT;
    struct gpu *card = &state->gpus[device->place];
    struct slice *part = device->slot == WHOLE_GPU ? NULL : &card->slices[device->slot];
    wait_while(part == NULL ? &card->hangs[call] : &part->hangs[call]);
    *gpu = card;
    *slice = part;
    if (card->lost != SUCCESS) return card->lost;
    if (card->reset_at >= started) return GPU_IS_LOST;
    if (part == NULL) return card->codes[call];
    if (card->mig != 1 || !part->present) return NOT_FOUND;
    return part->lost != SUCCESS ? part->lost : part->codes[call];
}

/* Every call on a device begins with one of these; `gpu` and `slice` are what it asks, `slice` NULL for a whole GPU. */
#define ON(call) \
    struct gpu *gpu; \
    struct slice *slice; \
    int code_ = asked_of(device, CALL_##call, &gpu, &slice); \
    if (code_ != SUCCESS) return code_
#define ON_GPU(call) ON(call); if (slice != NULL) return NOT_SUPPORTED
#define ON_SLICE(call) ON(call); if (slice == NULL) return NOT_SUPPORTED

/* What of a GPU in MIG mode only those learn who may see all its MIG devices. */
#define MONITORING_ONLY if (slice == NULL && gpu->mig == 1 && !state->monitor) return NO_PERMISSION
/* What no GPU in MIG mode measures. */
#define NOT_IN_MIG_MODE if (gpu->mig == 1) return NOT_SUPPORTED

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    int code = asked_system(SYSTEM_VERSION);
    return code != SUCCESS ? code : written(version, length, state->driver_version, sizeof state->driver_version);
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    int code = asked_system(SYSTEM_COUNT);
    if (code == SUCCESS) *count = state->gpu_count;
    return code;
}

static int handle_of(uint32_t place, int slot, struct device **device) {
    struct gpu *gpu;
    struct slice *slice;
    *device = &devices[place][slot + 1];
    return asked_of(*device, slot == WHOLE_GPU ? CALL_HANDLE : CALL_SLICE_HANDLE, &gpu, &slice);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **device) {
    if (users == 0) return UNINITIALIZED;
    if (index >= state->gpu_count || index >= MAX_GPUS) return INVALID_ARGUMENT;
    uint32_t place = state->order[index];
    return place < MAX_GPUS ? handle_of(place, WHOLE_GPU, device) : NOT_FOUND;
}

static int uuid_of(const struct gpu *gpu, const struct slice *slice, char *uuid, unsigned length) {
    if (slice == NULL) return written(uuid, length, gpu->uuid, sizeof gpu->uuid);
#ifdef OLD_DRIVER
    char old[160];
    snprintf(old, sizeof old, "MIG-%.*s/%u/%u", (int)sizeof gpu->uuid, gpu->uuid, slice->gpu_instance,
             slice->compute_instance);
    return written(uuid, length, old, sizeof old);
#else
    return written(uuid, length, slice->uuid, sizeof slice->uuid);
#endif
}

int nvmlDeviceGetHandleByUUID(const char *uuid, struct device **device) {
    char found[160];
    if (users == 0) return UNINITIALIZED;
    if (uuid == NULL) return INVALID_ARGUMENT;
    for (unsigned index = 0; index < state->gpu_count && index < MAX_GPUS; index++) {
        uint32_t place = state->order[index];
        for (int slot = WHOLE_GPU; place < MAX_GPUS && slot < MAX_SLICES; slot++) {
            const struct gpu *gpu = &state->gpus[place];
            const struct slice *slice = slot == WHOLE_GPU ? NULL : &gpu->slices[slot];
            if (slice != NULL && !(gpu->mig == 1 && slice->present)) continue;
            if (uuid_of(gpu, slice, found, sizeof found) == SUCCESS && strcmp(found, uuid) == 0)
                return handle_of(place, slot, device);
        }
    }
    return asked() == SUCCESS ? NOT_FOUND : UNINITIALIZED;
}

int nvmlDeviceGetUUID(struct device *device, char *uuid, unsigned length) {
    ON(UUID);
    return uuid_of(gpu, slice, uuid, length);
}

int nvmlDeviceGetName(struct device *device, char *name, unsigned length) {
    ON(NAME);
    return slice == NULL ? written(name, length, gpu->name, sizeof gpu->name)
                         : written(name, length, slice->name, sizeof slice->name);
}

int nvmlDeviceGetMinorNumber(struct device *device, unsigned *minor) {
    ON_GPU(MINOR);
    *minor = (unsigned)gpu->minor_number;
    return SUCCESS;
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };

int nvmlDeviceGetPciInfo_v3(struct device *device, struct pci *pci) {
    ON_GPU(PCI);
    memset(pci, 0, sizeof *pci);
    memcpy(pci->bus_id, gpu->bus_id, sizeof pci->bus_id);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(struct device *device, unsigned *now, unsigned *pending) {
    ON_GPU(MIG);
    if (gpu->mig < 0) return NOT_SUPPORTED;
    *now = (unsigned)gpu->mig;
    *pending = (unsigned)(gpu->mig_pending < 0 ? gpu->mig : gpu->mig_pending);
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned *count) {
    ON_GPU(MAX_SLICES);
    *count = gpu->mig == 1 ? gpu->max_slices : 0;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned index, struct device **found) {
    ON_GPU(SLICE_HANDLE);
    if (gpu->mig < 0) return NOT_SUPPORTED;
    if (gpu->mig == 1 && index >= gpu->max_slices) return INVALID_ARGUMENT;
    if (gpu->mig != 1 || index >= MAX_SLICES || !gpu->slices[index].present) return NOT_FOUND;
    return handle_of(device->place, (int)index, found);
}

int nvmlDeviceIsMigDeviceHandle(struct device *device, unsigned *is_slice) {
    ON(IS_SLICE);
    *is_slice = slice != NULL;
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceId(struct device *device, unsigned *id) {
    ON_SLICE(GPU_INSTANCE);
    *id = slice->gpu_instance;
    return SUCCESS;
}

int nvmlDeviceGetComputeInstanceId(struct device *device, unsigned *id) {
    ON_SLICE(COMPUTE_INSTANCE);
    *id = slice->compute_instance;
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct device *device, struct device **parent) {
    ON(PARENT);
    if (slice == NULL) return INVALID_ARGUMENT;
    *parent = &devices[device->place][0];
    return SUCCESS;
}

struct attributes {
    unsigned multiprocessors, copy_engines, decoders, encoders, jpegs, ofas, gpu_slices, compute_slices;
    unsigned long long memory_mib;
};

int nvmlDeviceGetAttributes_v2(struct device *device, struct attributes *attributes) {
    ON_SLICE(ATTRIBUTES);
    memset(attributes, 0, sizeof *attributes);
    attributes->multiprocessors = slice->multiprocessors;
    attributes->gpu_slices = slice->gpu_slices;
    attributes->compute_slices = slice->compute_slices;
    attributes->memory_mib = slice->total_bytes / (1024 * 1024);
    return SUCCESS;
}

struct memory_v1 { uint64_t total, free, used; };
struct memory_v2 { uint32_t version; uint64_t total, reserved, free, used; };

/* The older form counts what is reserved as used. */
int nvmlDeviceGetMemoryInfo(struct device *device, struct memory_v1 *memory) {
    ON(MEMORY);
    MONITORING_ONLY;
    memory->total = slice == NULL ? gpu->total_bytes : slice->total_bytes;
    memory->used = slice == NULL ? gpu->used_bytes + gpu->reserved_bytes : slice->used_bytes + slice->reserved_bytes;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(struct device *device, unsigned percents[2]) {
    ON_GPU(RATES);
    NOT_IN_MIG_MODE;
    percents[0] = (unsigned)gpu->gpu_percent;
    percents[1] = (unsigned)gpu->memory_percent;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(struct device *device, unsigned *milliwatts) {
    ON_GPU(POWER);
    *milliwatts = gpu->power_mw;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(struct device *device, int sensor, unsigned *celsius) {
    (void)sensor;
    ON_GPU(TEMPERATURE);
    *celsius = (unsigned)gpu->temperature;
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(struct device *device, int kind, int counter, uint64_t *count) {
    (void)counter;
    ON_GPU(ECC);
    *count = kind == 0 ? gpu->corrected : gpu->uncorrected;
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(struct device *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                              unsigned *failed) {
    ON_GPU(ROWS);
    *corrected = gpu->rows[0];
    *uncorrected = gpu->rows[1];
    *pending = gpu->rows[2];
    *failed = gpu->rows[3];
    return SUCCESS;
}

/* All pages are of the first cause; more than a driver keeps would only exhaust the caller's memory. */
int nvmlDeviceGetRetiredPages(struct device *device, int cause, unsigned *count, uint64_t *pages) {
    ON_GPU(RETIRED);
    unsigned found = cause == 0 ? gpu->retired_pages : 0, room = *count;
    if (found > MAX_RETIRED_PAGES) found = MAX_RETIRED_PAGES;
    *count = found;
    if (found > room) return INSUFFICIENT_SIZE;
    if (pages != NULL) memset(pages, 0, found * sizeof *pages);
    return SUCCESS;
}

int nvmlDeviceGetRetiredPagesPendingStatus(struct device *device, unsigned *pending) {
    ON_GPU(RETIRED_PENDING);
    *pending = gpu->retired_pending;
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(struct device *device, int *major, int *minor) {
    ON_GPU(CAPABILITY);
    *major = gpu->capability[0];
    *minor = gpu->capability[1];
    return SUCCESS;
}

int nvmlDeviceGetMaxPcieLinkGeneration(struct device *device, unsigned *generation) {
    ON_GPU(PCIE);
    *generation = gpu->pcie_generation;
    return SUCCESS;
}

int nvmlDeviceGetMaxPcieLinkWidth(struct device *device, unsigned *lanes) {
    ON_GPU(PCIE);
    *lanes = gpu->pcie_lanes;
    return SUCCESS;
}

int nvmlDeviceGetNvLinkState(struct device *device, unsigned link, unsigned *active) {
    ON_GPU(NVLINK);
    if (link >= gpu->nvlinks) return INVALID_ARGUMENT;
    *active = 1;
    return SUCCESS;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct device *device, unsigned link, struct pci *pci) {
    ON_GPU(NVLINK);
    if (link >= gpu->nvlinks) return INVALID_ARGUMENT;
    memset(pci, 0, sizeof *pci);
    memcpy(pci->bus_id, gpu->peer_bus_id, sizeof pci->bus_id);
    return SUCCESS;
}

struct process_info { uint32_t pid; uint64_t used_bytes; uint32_t gpu_instance, compute_instance; };

static int is_on(const struct process *process, const struct slice *slice) {
    return slice == NULL || (process->gpu_instance == slice->gpu_instance &&
                             process->compute_instance == slice->compute_instance);
}

static int listed(const struct gpu *gpu, const struct slice *slice, uint32_t kind, unsigned *count,
                  struct process_info *infos) {
    unsigned room = *count, found = 0;
    for (unsigned place = 0; place < gpu->process_count && place < MAX_PROCESSES; place++) {
        const struct process *process = &gpu->processes[place];
        if ((process->kinds & kind) == 0 || !is_on(process, slice)) continue;
        if (infos != NULL && found < room)
            infos[found] = (struct process_info){process->pid, process->used_bytes, process->gpu_instance,
                                                 process->compute_instance};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

#define LISTS(name, kind, call) \
    int name(struct device *device, unsigned *count, struct process_info *infos) { \
        ON(call); \
        MONITORING_ONLY; \
        return listed(gpu, slice, kind, count, infos); \
    }
LISTS(nvmlDeviceGetComputeRunningProcesses_v2, COMPUTE, COMPUTE_PROCESSES)
LISTS(nvmlDeviceGetGraphicsRunningProcesses_v2, GRAPHICS, GRAPHICS_PROCESSES)
LISTS(nvmlDeviceGetMPSComputeRunningProcesses_v2, MPS, MPS_PROCESSES)

struct utilization { uint32_t pid; uint64_t stamp_us; uint32_t sm, memory, encoder, decoder; };

int nvmlDeviceGetProcessUtilization(struct device *device, struct utilization *samples, unsigned *count,
                                    uint64_t since_us) {
    ON_GPU(PROCESS_UTILIZATION);
    NOT_IN_MIG_MODE;
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

int nvmlDeviceGetFieldValues(struct device *device, int count, struct field *fields) {
    ON_GPU(FIELDS);
    for (int place = 0; place < count; place++) {
        fields[place].code = fields[place].id == 230 ? SUCCESS : NOT_SUPPORTED;
        fields[place].value = gpu->recovery_action;
    }
    return SUCCESS;
}

struct event_set { uint32_t places; };
struct event { struct device *device; uint64_t type, data; uint32_t gpu_instance, compute_instance; };
enum { NO_INSTANCE = -1, XID_EVENT = 8 };

int nvmlEventSetCreate(struct event_set **set) {
    int code = asked_system(SYSTEM_EVENT_SET);
    if (code != SUCCESS) return code;
    *set = calloc(1, sizeof **set);
    return SUCCESS;
}

int nvmlEventSetFree(struct event_set *set) {
    free(set);
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(struct device *device, uint64_t types, struct event_set *set) {
    (void)types;
    ON_GPU(EVENTS);
    if (set == NULL) return INVALID_ARGUMENT;
    set->places |= 1u << device->place;
    __atomic_add_fetch(&state->registrations, 1, __ATOMIC_RELAXED);
    return SUCCESS;
}

int nvmlEventSetWait_v2(struct event_set *set, struct event *event, unsigned timeout_ms) {
    int code = asked_system(SYSTEM_WAIT);
    if (code != SUCCESS) return code;
    struct pollfd poller = {.fd = xids, .events = POLLIN};
    if (poll(&poller, 1, (int)timeout_ms) <= 0) return TIMEOUT;
    uint32_t entry[4];
    if (read(xids, entry, sizeof entry) != sizeof entry) return TIMEOUT;
    int is_known = entry[0] < MAX_GPUS;
    if (is_known && (set == NULL || (set->places & (1u << entry[0])) == 0)) return TIMEOUT;
    /* Those of single MIG devices come only to those who may see all of them. */
    if (entry[2] != (uint32_t)NO_INSTANCE && !state->monitor) return TIMEOUT;
    memset(event, 0, sizeof *event);
    event->device = is_known ? &devices[entry[0]][0] : NULL;
    event->type = XID_EVENT;
    event->data = entry[1];
    event->gpu_instance = entry[2];
    event->compute_instance = entry[3];
    return SUCCESS;
}

#ifndef OLD_DRIVER
LISTS(nvmlDeviceGetComputeRunningProcesses_v3, COMPUTE, COMPUTE_PROCESSES)
LISTS(nvmlDeviceGetGraphicsRunningProcesses_v3, GRAPHICS, GRAPHICS_PROCESSES)
LISTS(nvmlDeviceGetMPSComputeRunningProcesses_v3, MPS, MPS_PROCESSES)

int nvmlDeviceGetMemoryInfo_v2(struct device *device, struct memory_v2 *memory) {
    ON(MEMORY_V2);
    MONITORING_ONLY;
    memory->total = slice == NULL ? gpu->total_bytes : slice->total_bytes;
    memory->reserved = slice == NULL ? gpu->reserved_bytes : slice->reserved_bytes;
    memory->used = slice == NULL ? gpu->used_bytes : slice->used_bytes;
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

struct temperature { uint32_t version, sensor; int32_t celsius; };

int nvmlDeviceGetTemperatureV(struct device *device, struct temperature *temperature) {
    ON_GPU(TEMPERATURE_V);
    temperature->celsius = gpu->temperature;
    return SUCCESS;
}

/* Memory limits of cgroups, which drivers have from r615 on; each process that loads this library has its own. */
enum { FUNCTION_NOT_FOUND = 13, MAX_LIMITS = 64, LIMITS_DRIVER = 615 };
struct set_limits { const char *name_space; unsigned long long soft, hard; };
struct get_limits { const char *name_space; unsigned long long soft, hard, used; };
static struct limit { char uuid[96], name_space[512]; unsigned long long soft, hard; } limits[MAX_LIMITS];

static int driver_branch(void) {
    char version[sizeof state->driver_version + 1] = {0};
    memcpy(version, state->driver_version, sizeof state->driver_version);
    return (int)strtol(version, NULL, 10);
}

static struct limit *limit_of(const struct gpu *gpu, const char *name_space) {
    if (name_space == NULL) return NULL;
    for (int at = 0; at < MAX_LIMITS; at++) {
        if (limits[at].uuid[0] == 0) {
            snprintf(limits[at].uuid, sizeof limits[at].uuid, "%.*s", (int)sizeof gpu->uuid, gpu->uuid);
            snprintf(limits[at].name_space, sizeof limits[at].name_space, "%s", name_space);
            limits[at].hard = ~0ULL;
        }
        if (strncmp(limits[at].uuid, gpu->uuid, sizeof limits[at].uuid - 1) == 0 &&
            strcmp(limits[at].name_space, name_space) == 0)
            return &limits[at];
    }
    return NULL;
}

int nvmlDeviceSetMemoryLimits_v1(struct device *device, struct set_limits *wanted) {
    ON_GPU(LIMITS);
    NOT_IN_MIG_MODE;
    if (driver_branch() < LIMITS_DRIVER) return FUNCTION_NOT_FOUND;
    struct limit *limit = limit_of(gpu, wanted->name_space);
    if (limit == NULL) return INSUFFICIENT_SIZE;
    limit->soft = wanted->soft;
    limit->hard = wanted->hard;
    return SUCCESS;
}

int nvmlDeviceGetMemoryLimits_v1(struct device *device, struct get_limits *answer) {
    ON_GPU(LIMITS);
    NOT_IN_MIG_MODE;
    if (driver_branch() < LIMITS_DRIVER) return FUNCTION_NOT_FOUND;
    struct limit *limit = limit_of(gpu, answer->name_space);
    if (limit == NULL) return INSUFFICIENT_SIZE;
    answer->soft = limit->soft;
    answer->hard = limit->hard;
    answer->used = 0;
    return SUCCESS;
}

int nvmlDeviceGetNumaNodeId(struct device *device, unsigned *node) {
    ON_GPU(NUMA);
    if (gpu->numa_node < 0) return NOT_SUPPORTED;
    *node = (unsigned)gpu->numa_node;
    return SUCCESS;
}
#endif
