using Nibble.Kernels.Communication;
using Nibble.Modeling.Decoder;
using Nibble.Tests;
using Nibble.Training.Batching;
using Nibble.Training.Checkpointing;
using Nibble.Training.Configuration;
using Nibble.Training.Distributed;
using Nibble.Training.Reporting;
using static TorchSharp.torch;

namespace Nibble.Training.Tests;

public class AsyncSaveTests
{
    [Fact]
    public async Task Training_goes_on_while_something_is_written_and_the_next_thing_waits_for_it()
    {
        using var gate = new ManualResetEventSlim();
        using var writer = new BackgroundWriter();
        var order = new List<int>();
        writer.Start(() =>
        {
            gate.Wait(TestContext.Current.CancellationToken);
            order.Add(1);
        });
        writer.Check();
        Assert.Empty(order);

        Task next = Task.Run(() => writer.Start(() => order.Add(2)), TestContext.Current.CancellationToken);
        Assert.NotSame(next, await Task.WhenAny(next, Task.Delay(50, TestContext.Current.CancellationToken)));
        gate.Set();
        await next;
        writer.Wait();
        Assert.Equal([1, 2], order);
    }

    [Fact]
    public async Task Steps_go_on_while_the_disk_is_slow_until_the_next_checkpoint_is_due()
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["out"]);
        using var disk = new ManualResetEventSlim();
        var writer = new BackgroundWriter();
        RunConfig config = Bf16WeightTests.Config(folder["out"], new TrainingSection { MaxSteps = 6, SaveSteps = 4 });
        using DecoderModel model = ModelLoader.Load(config.Model, new LoadOptions { DType = ScalarType.Float32 });
        model.UnfreezeAll();
        var observer = new StepsDone();
        var world = new SingleProcess();
        using var optimizer = new ParallelOptimizer(config, model, [.. model.Parameters], world);
        using var store = new CheckpointStore(folder["out"], limit: 2, writer, world, TimeSpan.FromSeconds(1));
        (IReadOnlyList<EncodedExample> examples, _, _) = TrainingData.Load(config, model.Config, observer);
        var loop = new TrainingLoop(
            config, model, new BatchPlan(examples, 4, packTo: null, shuffle: true, config.Seed), new HeldOutSet(model, config.Model, [], config.Training, world, optimizer), store, observer, profiler: null, world, optimizer);
        using var log = new RunLog(folder["out"], afterStep: 0);
        writer.Start(() => disk.Wait(TestContext.Current.CancellationToken));
        Task run = Task.Run(() => loop.Run(log, TestContext.Current.CancellationToken), TestContext.Current.CancellationToken);
        Assert.True(await Within(observer.Reached(4), TimeSpan.FromSeconds(60)), "the steps wait for the disk");
        Assert.False(await Within(observer.Reached(5), TimeSpan.FromMilliseconds(200)), "the next checkpoint does not wait");
        disk.Set();
        await run;
        Assert.EndsWith("checkpoint-4", store.Latest, StringComparison.Ordinal);

        static async Task<bool> Within(Task task, TimeSpan limit) => task == await Task.WhenAny(task, Task.Delay(limit, TestContext.Current.CancellationToken));
    }

    [Fact]
    public void A_failure_is_told_once_at_the_next_question_and_never_by_the_end()
    {
        var writer = new BackgroundWriter();
        writer.Start(() => throw new IOException("full"));
        Assert.True(SpinWait.SpinUntil(() => Throws(writer.Check), TimeSpan.FromSeconds(10)));
        writer.Check();
        writer.Wait();

        writer.Start(() => throw new IOException("full"));
        Assert.Throws<IOException>(() => writer.Start(() => { }));
        writer.Start(() => throw new IOException("full"));
        writer.Dispose();

        static bool Throws(Action action)
        {
            try
            {
                action();
                return false;
            }
            catch (IOException)
            {
                return true;
            }
        }
    }

    [Fact]
    public void A_checkpoint_has_the_values_of_its_moment()
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["out"]);
        using Tensor weight = zeros(1 << 18);
        using Tensor state = ones(1 << 18);
        Parameter[] parameters = [new("weight", weight, Decays: true)];
        var states = new Dictionary<string, Tensor> { ["weight.exp_avg"] = state };
        using var log = new RunLog(folder["out"], afterStep: 0);
        using var store = new CheckpointStore(folder["out"], limit: 1, new BackgroundWriter(), new SingleProcess(), TimeSpan.FromSeconds(1));
        store.Save(new TrainingState { Step = 1 }, parameters, states, log);
        weight.zero_().add_(state);
        state.zero_();
        store.Wait();
        Assert.Equal(1, CheckpointStore.Restore(store.Latest!, parameters, states).Step);
        Assert.Equal(new float[weight.NumberOfElements], weight.data<float>().ToArray());
        Assert.Equal(Enumerable.Repeat(1f, 1 << 18), state.data<float>().ToArray());
    }

    [Theory]
    [InlineData(Method.Lora, OptimizerType.AdamwTorch)]
    [InlineData(Method.Qlora, OptimizerType.Adamw8bit)]
    [InlineData(Method.Full, OptimizerType.AdamwTorch)]
    public void Checkpoints_and_results_are_those_of_a_run_that_waits(Method method, OptimizerType optimizer)
    {
        using var folder = new TempFolder();
        Assert.Equal(Losses(saveAsync: false), Losses(saveAsync: true));
        foreach (string file in Directory.EnumerateFiles(folder["False"], "*.safetensors", SearchOption.AllDirectories).Append(Path.Combine(folder["False"], "checkpoint-6", "trainer_state.json")))
        {
            Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(file.Replace(folder["False"], folder["True"], StringComparison.Ordinal)));
        }

        IEnumerable<double> Losses(bool saveAsync)
        {
            var config = new RunConfig
            {
                Model = SharedFolder.Path("models", "stories260K", "hf"),
                Method = method,
                Dtype = "float32",
                OutputDir = folder[$"{saveAsync}"],
                Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 128, EvalRatio = 0.1 },
                Training = new TrainingSection { MaxSteps = 6, SaveSteps = 1, EvalSteps = 2, SaveTotalLimit = 6, ReportSamples = 0, GradientAccumulationSteps = 1, LearningRate = 1e-3, Optim = optimizer, SaveAsync = saveAsync },
            };
            return [.. new FineTuner(config).Run(cancellation: TestContext.Current.CancellationToken).Losses.Select(item => item.Loss)];
        }
    }

    [Fact]
    public void By_default_adapters_are_written_while_training_goes_on_and_whole_models_are_not()
    {
        Assert.True(new RunConfig { Method = Method.Lora }.SavesInBackground);
        Assert.True(new RunConfig { Method = Method.Qlora }.SavesInBackground);
        Assert.False(new RunConfig { Method = Method.Full }.SavesInBackground);
        Assert.True(new RunConfig { Method = Method.Full, Training = new TrainingSection { SaveAsync = true } }.SavesInBackground);
    }

    /// <summary>Lets others wait for a step.</summary>
    private sealed class StepsDone : ITrainingObserver
    {
        private readonly TaskCompletionSource[] steps = [.. Enumerable.Range(0, 8).Select(_ => new TaskCompletionSource())];

        public Task Reached(int step) => steps[step].Task;

        public void Progress(int done, int totalSteps, double loss) => steps[done].SetResult();
    }
}
