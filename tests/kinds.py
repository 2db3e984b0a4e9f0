"""What KEDA and Karpenter take, as far as our manifests use it: a field they don't know is refused.

Their own schemas let a misspelt field pass. Names, types and bounds are those of KEDA 2.20.2 and
of Karpenter's v1; the metadata of a trigger, a free map in KEDA's schema, are those that its
scalers read (pkg/scalers). Kubernetes' own kinds are checked by kubernetes-validate.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Text = Annotated[str, Field(min_length=1)]
Texts = dict[str, str]
Count = Annotated[int, Field(ge=0)]
Some = Annotated[int, Field(ge=1)]
Duration = Annotated[str, Field(pattern=r"^([0-9]+(s|m|h))+$")]
DurationOrNever = Annotated[str, Field(pattern=r"^(([0-9]+(s|m|h))+|Never)$")]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Named(Closed):
    name: Text
    namespace: Text | None = None
    labels: Texts = {}
    annotations: Texts = {}


# KEDA

NUMBER, SWITCH, TEXT, URL = r"[0-9]+(\.[0-9]+)?", "true|false", ".+", "https?://.+"
TRIGGERS: dict[str, tuple[Texts, Texts]] = {
    "metrics-api": (
        {"url": URL, "valueLocation": TEXT, "targetValue": NUMBER},
        {
            "activationTargetValue": NUMBER,
            "format": "json|prometheus|xml|yaml",
            "unsafeSsl": SWITCH,
            "aggregateFromKubeServiceEndpoints": SWITCH,
            "aggregationType": "average|sum|max|min",
        },
    ),
    "prometheus": (
        # KEDA does not ask for the last of them. But without it what is not there would be zero.
        {"serverAddress": URL, "query": TEXT, "threshold": NUMBER, "ignoreNullValues": "false"},
        {
            "activationThreshold": NUMBER,
            "namespace": TEXT,
            "unsafeSsl": SWITCH,
            "timeout": TEXT,
            "authModes": TEXT,
        },
    ),
}
"""Type -> metadata that it must and may have, and what each looks like."""


class AuthenticationRef(Closed):
    name: Text
    kind: Literal["TriggerAuthentication", "ClusterTriggerAuthentication"] | None = None


class JobTrigger(Closed):
    type: Text
    metadata: Texts
    name: Text | None = None
    authenticationRef: AuthenticationRef | None = None
    useCachedMetrics: bool | None = None

    @model_validator(mode="after")
    def _metadata_are_those_of_the_type(self) -> "JobTrigger":
        must, may = TRIGGERS.get(self.type, ({}, {}))
        assert must, f"{self.type}: no such trigger here"
        missing, unknown = must.keys() - self.metadata, self.metadata.keys() - must - may.keys()
        assert not missing and not unknown, f"missing {missing}, unknown {unknown}"
        wrong = {k: v for k, v in self.metadata.items() if not re.fullmatch((must | may)[k], v)}
        assert not wrong, wrong
        return self


class Trigger(JobTrigger):
    metricType: Literal["AverageValue", "Value", "Utilization"] | None = None


class Policy(Closed):
    type: Literal["Pods", "Percent"]
    value: Some
    periodSeconds: Annotated[int, Field(ge=1, le=1800)]


class Rules(Closed):
    stabilizationWindowSeconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    selectPolicy: Literal["Max", "Min", "Disabled"] | None = None
    policies: Annotated[list[Policy], Field(min_length=1)]


class Behavior(Closed):
    scaleUp: Rules
    scaleDown: Rules


class HpaConfig(Closed):
    name: Text | None = None
    behavior: Behavior


class Advanced(Closed):
    restoreToOriginalReplicaCount: bool | None = None
    horizontalPodAutoscalerConfig: HpaConfig


class Fallback(Closed):
    failureThreshold: Count
    replicas: Count
    behavior: Literal[
        "static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"
    ]


class Target(Closed):
    name: Text
    kind: Text | None = None
    apiVersion: Text | None = None
    envSourceContainerName: Text | None = None


class ScaledObjectSpec(Closed):
    scaleTargetRef: Target
    minReplicaCount: Count | None = None
    maxReplicaCount: Some
    idleReplicaCount: Count | None = None
    pollingInterval: Some | None = None
    cooldownPeriod: Count
    initialCooldownPeriod: Count | None = None
    fallback: Fallback
    advanced: Advanced
    triggers: Annotated[list[Trigger], Field(min_length=1)]


class ScalingStrategy(Closed):
    strategy: Literal["default", "custom", "accurate", "eager"]
    pendingPodConditions: list[Text] | None = None
    multipleScalersCalculation: Literal["min", "avg", "sum", "max"] | None = None


class Rollout(Closed):
    strategy: Literal["gradual", "immediate"]
    propagationPolicy: Literal["foreground", "background"] | None = None


class ScaledJobSpec(Closed):
    jobTargetRef: dict[str, Any]
    """A Job's, which kubernetes-validate checks."""
    pollingInterval: Some | None = None
    minReplicaCount: Count | None = None
    maxReplicaCount: Some
    successfulJobsHistoryLimit: Count | None = None
    failedJobsHistoryLimit: Count | None = None
    envSourceContainerName: Text | None = None
    rollout: Rollout
    scalingStrategy: ScalingStrategy
    triggers: Annotated[list[JobTrigger], Field(min_length=1)]


class ScaledObject(Closed):
    apiVersion: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Named
    spec: ScaledObjectSpec


class ScaledJob(Closed):
    apiVersion: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledJob"]
    metadata: Named
    spec: ScaledJobSpec


# Karpenter


class Budget(Closed):
    nodes: Annotated[str, Field(pattern=r"^((100|[0-9]{1,2})%|[0-9]+)$")]
    reasons: list[Literal["Underutilized", "Empty", "Drifted"]] | None = None
    schedule: Text | None = None
    duration: Duration | None = None


class Disruption(Closed):
    consolidationPolicy: Literal["WhenEmpty", "WhenEmptyOrUnderutilized"]
    consolidateAfter: DurationOrNever
    budgets: list[Budget]


class NodeClassRef(Closed):
    group: Literal["karpenter.k8s.aws"]
    kind: Literal["EC2NodeClass"]
    name: Text


class Requirement(Closed):
    key: Text
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: list[Text] = []
    minValues: Some | None = None

    @model_validator(mode="after")
    def _bounds_are_one_number(self) -> "Requirement":
        if self.operator in ("Gt", "Lt"):
            assert len(self.values) == 1 and self.values[0].isdigit(), self.values
        return self


class Taint(Closed):
    key: Text
    value: Text | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class NodeSpec(Closed):
    nodeClassRef: NodeClassRef
    requirements: Annotated[list[Requirement], Field(min_length=1)]
    taints: list[Taint] = []
    startupTaints: list[Taint] = []
    expireAfter: DurationOrNever
    terminationGracePeriod: Duration | None = None


class NodeMetadata(Closed):
    labels: Texts = {}
    annotations: Texts = {}


class NodeTemplate(Closed):
    metadata: NodeMetadata
    spec: NodeSpec


class NodePoolSpec(Closed):
    template: NodeTemplate
    limits: Texts
    disruption: Disruption
    weight: Annotated[int, Field(ge=1, le=100)] | None = None


class NodePool(Closed):
    apiVersion: Literal["karpenter.sh/v1"]
    kind: Literal["NodePool"]
    metadata: Named
    spec: NodePoolSpec


class AmiTerm(Closed):
    alias: Annotated[str, Field(pattern=r"^[a-z0-9]+@.+$")] | None = None
    id: Text | None = None
    name: Text | None = None
    owner: Text | None = None
    ssmParameter: Text | None = None
    tags: Texts | None = None


class Term(Closed):
    id: Text | None = None
    tags: Texts | None = None


class Ebs(Closed):
    volumeSize: Text
    volumeType: Literal["gp3", "io2", "gp2", "io1", "st1", "sc1", "standard"]
    encrypted: bool
    deleteOnTermination: bool
    iops: Some | None = None
    throughput: Some | None = None
    kmsKeyID: Text | None = None


class BlockDevice(Closed):
    deviceName: Text
    ebs: Ebs
    rootVolume: bool | None = None


class MetadataOptions(Closed):
    httpTokens: Literal["required", "optional"]
    httpPutResponseHopLimit: Annotated[int, Field(ge=1, le=64)]
    httpEndpoint: Literal["enabled", "disabled"] | None = None
    httpProtocolIPv6: Literal["enabled", "disabled"] | None = None


class EC2NodeClassSpec(Closed):
    role: Text
    amiSelectorTerms: Annotated[list[AmiTerm], Field(min_length=1, max_length=30)]
    subnetSelectorTerms: Annotated[list[Term], Field(min_length=1, max_length=30)]
    securityGroupSelectorTerms: Annotated[list[Term], Field(min_length=1, max_length=30)]
    instanceStorePolicy: Literal["RAID0"]
    blockDeviceMappings: list[BlockDevice]
    metadataOptions: MetadataOptions
    tags: Texts | None = None
    userData: Text | None = None


class EC2NodeClass(Closed):
    apiVersion: Literal["karpenter.k8s.aws/v1"]
    kind: Literal["EC2NodeClass"]
    metadata: Named
    spec: EC2NodeClassSpec


OTHERS: dict[str, type[Closed]] = {
    kind.__name__: kind for kind in (ScaledObject, ScaledJob, NodePool, EC2NodeClass)
}
"""Kinds that Kubernetes itself does not know."""
