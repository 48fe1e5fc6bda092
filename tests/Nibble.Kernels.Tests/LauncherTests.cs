using Nibble.Kernels.Communication;

namespace Nibble.Kernels.Tests;

public class LauncherTests
{
    [Theory]
    [InlineData("OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1", "mpirun", 2, 4, 1)]
    [InlineData("PMI_RANK=0 PMI_SIZE=2", "mpiexec", 0, 2, 0)]
    [InlineData("SLURM_PROCID=3 SLURM_STEP_NUM_TASKS=8 SLURM_LOCALID=3", "srun", 3, 8, 3)]
    [InlineData("RANK=1 WORLD_SIZE=4 MASTER_ADDR=localhost LOCAL_RANK=1", "torchrun", 1, 4, 1)]
    [InlineData("OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 RANK=7 WORLD_SIZE=9", "mpirun", 1, 2, 0)]
    public void A_process_knows_its_rank_from_whoever_started_it(string environment, string program, int rank, int size, int local) =>
        Assert.Equal(new Launcher(program, rank, size, local), Launcher.From(Variables(environment)));

    [Theory]
    [InlineData("")]
    [InlineData("OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1")]
    [InlineData("RANK=0 WORLD_SIZE=1")]
    [InlineData("SLURM_PROCID=0 SLURM_NTASKS=4")] // A batch script, which runs once.
    public void A_process_that_was_started_alone_is_alone(string environment) => Assert.Null(Launcher.From(Variables(environment)));

    private static Func<string, string?> Variables(string environment)
    {
        Dictionary<string, string> variables = environment.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(item => item.Split('=')).ToDictionary(item => item[0], item => item[1]);
        return name => variables.GetValueOrDefault(name);
    }
}
