using Nibble.Evaluation.Answers;
using Nibble.Tests;

namespace Nibble.Evaluation.Tests;

public class MetricsTests
{
    [Fact]
    public void Every_name_gives_the_metric_of_that_name() =>
        Assert.All(Metrics.Names, name => Assert.Equal(name, Metrics.Create(name, new MetricOptions { Schema = "schema.json" }).Metric));

    [Theory]
    [InlineData("rougel", "rougeL")]
    [InlineData("exact-match", "exact_match")]
    [InlineData("chrf+", "chrf")]
    public void An_unknown_name_is_an_error_that_names_the_nearest(string name, string nearest) =>
        Assert.Equal($"'{name}' is not a metric; the nearest is '{nearest}'.", Assert.Throws<ArgumentException>(() => Metrics.Create(name)).Message);

    [Fact]
    public async Task Options_reach_their_metrics()
    {
        EvaluationExample[] examples = [new("", ["Running: the #### 2.0"], "runs a #### 2.1")];
        async Task<double> ScoreAsync(string name, MetricOptions options) => (await Metrics.Create(name, options).EvaluateAsync(examples)).Score;
        Assert.Equal(0.25, await ScoreAsync("rouge1", new MetricOptions()));
        Assert.Equal(0.5, await ScoreAsync("rouge1", new MetricOptions { UseStemmer = true }));
        Assert.Equal(0, await ScoreAsync("numeric", new MetricOptions { Extract = "#### (.*)" }));
        Assert.Equal(1, await ScoreAsync("numeric", new MetricOptions { Extract = "#### (.*)", Tolerance = 0.2 }));
        Assert.Equal(1, await ScoreAsync("exact_match", new MetricOptions { Extract = @"#### (\d)" }));
        Assert.Equal(1, await ScoreAsync("f1", new MetricOptions { Extract = @"#### (\d)" }));
        Assert.Equal(1, await ScoreAsync("exact_match", new MetricOptions { Extract = @"( a|the) ####", Normalization = AnswerNormalization.Squad }));

        using var folder = new TempFolder();
        File.WriteAllText(folder["schema.json"], "{}");
        Assert.Equal(0, await ScoreAsync("json_schema", new MetricOptions { Schema = folder["schema.json"] }));
        Assert.Contains("needs a schema", Assert.Throws<ArgumentException>(() => Metrics.Create("json_schema")).Message, StringComparison.Ordinal);
        Assert.ThrowsAny<ArgumentException>(() => Metrics.Create("f1", new MetricOptions { Extract = "(" }));
    }
}
